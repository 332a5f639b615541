// A thread under PTRACE_SEIZE, stopped. The destructor detaches and the thread runs on (or stays in
// its job-control stop).
#pragma once

#include <linux/ptrace.h>

#include <optional>
#include <string>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/result.h"

namespace ncr {

// Every call must come from the OS thread that seized: to the kernel, it is the tracer.
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
  Result<> wait_stop();      // kGone if it exited meanwhile
  Result<bool> poll_stop();  // wait_stop() that does not wait: false if it runs still
  bool stopped() const { return stopped_; }
  int stop_signal() const { return stop_signal_; }  // of a job-control stop, else 0

  Result<std::vector<char>> get_regset(
      unsigned type) const;  // NT_*, whatever its size; empty if the kernel has none
  Result<> set_regset(unsigned type, const void* data, size_t size) const;
  Result<uint64_t> signal_mask() const;
  Result<> set_signal_mask(uint64_t mask) const;
  // For one that was let run by calls that failed half way: stops it again, wherever it is. A
  // signal that it is stopped with is dropped.
  Result<> regain();
  Result<bool> poll_exit();  // after SIGKILL: true once it is gone
  Result<> detach();         // the success path; says if it could not

 private:
  explicit SeizedThread(pid_t tid) : tid_(tid) {}
  Result<int> next_stop(bool may_block);
  Result<int> stop_now();
  Error gone();
  void collect();
  Result<bool> settle(int status);
  Result<> settle_job_control_stop(int signal);
  Result<> request(int number, unsigned long data, const char* name) const;
  void give_up();

  pid_t tid_ = 0;
  bool stopped_ = false;
  bool interrupted_ = false;  // PTRACE_INTERRUPT was sent since the last stop we took
  int stop_signal_ = 0;
  std::optional<int> unsettled_;  // si_status of a stop that was seen and not dealt with yet
};

}  // namespace ncr
