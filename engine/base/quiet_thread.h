// A thread that takes no signal: the engine lives inside programs whose handlers expect their own
// threads. Joined by its destructor. It helps and is never needed: where the machine has no room
// for another thread, none is started, and the caller's own thread does all of the work.
#pragma once

#include <pthread.h>

#include <functional>
#include <memory>
#include <optional>
#include <utility>

namespace ncr {

class [[nodiscard]] QuietThread {
 public:
  explicit QuietThread(std::function<void()> body);
  QuietThread(QuietThread&& other) noexcept : thread_(std::exchange(other.thread_, std::nullopt)) {}
  QuietThread(const QuietThread&) = delete;
  ~QuietThread();

 private:
  std::optional<pthread_t> thread_;
};

// How many threads, the caller's included, share a piece of work: `wanted`, or 0 for one per CPU
// that we may use, 4 at most.
unsigned worker_threads(unsigned wanted);

}  // namespace ncr
