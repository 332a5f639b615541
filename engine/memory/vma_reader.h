// The VMAs of many frozen tasks, read ahead by other threads: a good part of the time that a large
// tree stands still.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/base/quiet_thread.h"
#include "engine/memory/vma_iterator.h"
#include "engine/tree/frozen_tree.h"

namespace ncr {

class VmaReader {
 public:
  // Starts the threads that read ahead; before the freeze, where it costs nobody time.
  explicit VmaReader(unsigned threads);
  ~VmaReader();

  // `tasks` must stay, and stay frozen, until end().
  void begin(const std::vector<Task>& tasks);
  // Nothing more is read when it returns.
  void end();

  // The VMAs of tasks[index], once; waits for them or reads them itself.
  Result<std::vector<VmaLine>> take(size_t index);

 private:
  using Lines = Result<std::vector<VmaLine>>;
  enum class State : char { kUnread, kBeingRead, kRead };

  static constexpr size_t kAnyone = ~size_t{0};

  void read_ahead();
  bool read_next(std::unique_lock<std::mutex>& lock);  // false: nothing is to be read now
  void load_iterator(std::unique_lock<std::mutex>& lock);
  const VmaIterator* iterator(const std::unique_lock<std::mutex>& lock) const;

  const std::vector<Task>* tasks_ = nullptr;
  std::mutex mutex_;
  std::condition_variable read_;
  std::vector<State> states_;
  std::vector<std::optional<Lines>> lines_;
  size_t next_ = 0;  // where to look for the next that nobody reads
  size_t lines_ahead_ = 0;
  size_t awaited_ = kAnyone;
  bool stop_ = false;
  bool tried_to_load_ = false;
  std::optional<VmaIterator> iterator_;  // set once
  std::condition_variable work_;
  std::vector<QuietThread> threads_;
};

}  // namespace ncr
