// Bodies that take turns on one thread, each on a stack of its own: while one waits for its tracee,
// the others go on. ptrace(2) obeys only the thread that seized, so more threads are no way to
// overlap the waits.
#pragma once

#include <cstddef>
#include <functional>

namespace ncr {

// Runs body(0) ... body(count - 1), up to `at_once` of them at a time; returns when all have
// returned. A body gives its turn away in Patience::wait(). `between` runs on the caller's own
// stack, whenever bodies have returned: the place for callbacks of whoever embeds us, which may not
// bear another stack. Not to be called from a body.
void take_turns(size_t count, size_t at_once, const std::function<void(size_t)>& body,
                const std::function<void()>& between = [] {});

// The wait for what another process is about to do: look, wait(), look again. Most of it comes
// within microseconds, sooner than a sleep and a wakeup would take, so the first waits give up the
// CPU only; later ones sleep for up to a millisecond. In a body, the others have their turn
// instead.
class Patience {
 public:
  void wait();
  // The same, ended early when `fd` can be read.
  void wait_for(int fd);
  // Time to ask whether what is awaited can come at all.
  bool is_long() const { return waits_ > kShortWaits; }

 private:
  static constexpr unsigned kShortWaits = 64;
  unsigned waits_ = 0;
};

}  // namespace ncr
