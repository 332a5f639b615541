// A stopped thread's general registers, and one system call at a time in it.
#pragma once

#include "arch/arch.h"
#include "engine/tracee/seized_thread.h"

namespace ncr {

Result<arch::Registers> get_registers(const SeizedThread& thread);
Result<> set_registers(const SeizedThread& thread, const arch::Registers& registers);

// PTRACE_O_TRACESYSGOOD, and the thread's seccomp filters out of our way while we live.
Result<> prepare_remote_calls(const SeizedThread& thread);

// Lets the thread run until its next system call returned. It must be known to make one.
Result<> run_one_call(const SeizedThread& thread);

// What became of a thread that runs in the blob, without waiting. A job-control stop is passed on
// and the blob goes on; a fault in the blob stops the thread and is an error.
enum class RunningState { kRuns, kCrashed };
Result<RunningState> look_after(const SeizedThread& thread);

// Stops a thread that was resumed. One that crashed is stopped already, and drops its fault on the
// way from that stop to this.
Result<> halt(SeizedThread& thread, RunningState state);

// kGone if the thread was killed, whatever failed because of it.
Error explain(Error error, pid_t tid);

}  // namespace ncr
