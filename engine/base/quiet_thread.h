// A thread that takes no signal: the engine lives inside programs whose handlers expect their own
// threads. Joined by its destructor. It helps and is never needed: where the machine has no room
// for another thread, none is started, and the caller's own thread does all of the work.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace ncr {

class [[nodiscard]] QuietThread {
 public:
  explicit QuietThread(std::function<void()> body);
  QuietThread(QuietThread&& other) noexcept : thread_(std::exchange(other.thread_, std::nullopt)) {}
  QuietThread(const QuietThread&) = delete;
  ~QuietThread();

  bool started() const { return thread_.has_value(); }
  // Before it is woken: not on the CPU that the caller is on now, if there is another. A guest's
  // kernel takes a halted CPU for one that the host has taken away (vcpu_is_preempted() in
  // kernel/sched/fair.c), and wakes threads on the waker's own, in its way.
  void keep_off_this_cpu() const;
  // In such a thread, once it is awake: it may move as the others do, and those that it starts.
  static void move_freely();

 private:
  std::optional<pthread_t> thread_;
};

// A piece of work that a thread does on the side. The thread starts with the errand, where that
// costs nobody time, and waits for begin().
class [[nodiscard]] Errand {
 public:
  Errand();
  Errand(const Errand&) = delete;
  ~Errand();  // waits for work that was begun

  void begin(std::function<void()> work);
  // Returns when the work is done; does it here and now if no thread has taken it up.
  void finish();

 private:
  enum class State : char { kIdle, kGiven, kTaken, kDone, kOver };
  void wait_for_work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> work_;
  State state_ = State::kIdle;
  QuietThread thread_;
};

// How many threads, the caller's included, share a piece of work: `wanted`, or 0 for one per CPU
// that we may use, 4 at most.
unsigned worker_threads(unsigned wanted);

}  // namespace ncr
