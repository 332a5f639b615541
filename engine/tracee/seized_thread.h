// A thread under PTRACE_SEIZE, stopped. The destructor detaches and the thread runs on (or stays in its job-control stop).
#pragma once

#include <linux/ptrace.h>

#include <string>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/result.h"

namespace ncr {

class [[nodiscard]] SeizedThread {
 public:
  // kGone if it exited; kSystem with "traced by PID (comm)" if another tracer holds it.
  static Result<SeizedThread> seize(pid_t tid, unsigned long extra_options = 0);
  SeizedThread(SeizedThread&& other) noexcept;
  SeizedThread& operator=(SeizedThread&& other) noexcept;
  ~SeizedThread();

  pid_t tid() const { return tid_; }
  // PTRACE_INTERRUPT and the wait for its stop, apart so that many threads stop at the same time.
  Result<> interrupt();
  Result<> wait_stop();              // kGone if it exited meanwhile
  int stop_signal() const { return stop_signal_; }  // of a job-control stop, else 0

  Result<std::vector<char>> get_regset(unsigned type) const;   // NT_*, whatever its size; empty if the kernel has none
  Result<> set_regset(unsigned type, const void* data, size_t size) const;
  Result<uint64_t> signal_mask() const;
  Result<> set_signal_mask(uint64_t mask) const;
  Result<> resume();                 // PTRACE_CONT, no signal
  Result<> step();                   // one instruction, and wait for it
  Result<> detach();                 // the success path; says if it could not

 private:
  explicit SeizedThread(pid_t tid) : tid_(tid) {}
  pid_t tid_ = 0;
  bool stopped_ = false;
  int stop_signal_ = 0;
};

}  // namespace ncr
