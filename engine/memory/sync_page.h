// The memory that the coordinator shares with every task being born (restorer/args.h has its
// layout).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/image/image_reader.h"
#include "restorer/args.h"

namespace ncr {

// Made by the coordinator before the first fork, inherited by every child.
class [[nodiscard]] SyncPage {
 public:
  // Threads of each task that will enter the restorer, by index in RestorePlan::tasks; 0 for a task
  // that will not (a zombie, a helper).
  static Result<SyncPage> create(const std::vector<uint32_t>& threads);
  SyncPage(SyncPage&& other) noexcept;
  SyncPage& operator=(SyncPage&& other) noexcept;
  ~SyncPage();

  wire::SyncHeader& header() const { return *header_; }
  wire::TaskSlot& task(size_t index) const;
  wire::ThreadSlot& thread(size_t task_index, size_t thread_index) const;

  // A counter of the stages before the restorer (header().counters), with futex wake-ups.
  void add(size_t counter, uint32_t amount = 1) const;
  // Coordinator or child: until counters[counter] >= value. `check` is asked every 20 ms and ends
  // the wait with its error.
  using Check = std::function<Result<>()>;
  Result<> wait(size_t counter, uint32_t value, const Check& check) const;

  // Coordinator: until every thread of the tree has reached the gate; then open_gate(); then until
  // every thread is parked.
  Result<> wait_ready(const Check& check) const;
  void open_gate() const;
  Result<> wait_parked(const Check& check) const;
  void abort() const;  // whoever waits for a counter or at the gate exits

  // A child that fails before the restorer says so here; the first failure is the one reported.
  void report_failure(size_t task_index, const Error& error) const;
  Result<> failure(const Image& image) const;  // an error if any thread or child failed
  uint64_t size() const { return size_; }

 private:
  SyncPage(void* memory, uint64_t size);
  Result<> wait_threads(uint32_t& word, const Check& check) const;
  wire::SyncHeader* header_ = nullptr;
  uint64_t size_ = 0;
};

std::string step_name(uint32_t id);  // of a step or an act of the blob, for messages

}  // namespace ncr
