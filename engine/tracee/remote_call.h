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

// Lets the thread run until it stops itself by this signal.
Result<> run_to_own_stop(const SeizedThread& thread, int signal);

// kGone if the thread was killed, whatever failed because of it.
Error explain(Error error, pid_t tid);

}  // namespace ncr
