// A thread of the engine that goes into other namespaces: the caller's own must stay where it is.
// It takes no signal, and is started ahead of time, where that costs nobody time.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>

#include "engine/base/quiet_thread.h"

namespace ncr::namespaces {

class [[nodiscard]] Visitor {
 public:
  Visitor();
  Visitor(const Visitor&) = delete;
  ~Visitor();  // waits for what it was sent for

  // One thing at a time. Nothing is done where the machine has no room for another thread.
  void send(std::function<void()> work);
  // As send(), for work that goes on beside that of the caller.
  void send_beside(std::function<void()> work);
  void wait();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> work_;  // not empty: still to be done, or under way
  bool over_ = false;
  QuietThread thread_;  // last: it works on the others
};

}  // namespace ncr::namespaces
