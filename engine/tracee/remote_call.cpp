// System calls in a stopped thread (docs/adr/0001). Runs in the engine.
//
// They are run from one PTRACE_SYSCALL stop to the next and never single-stepped: a tracer that
// dies while its tracee steps leaves the trap flag behind, and the SIGTRAP that follows kills the
// tracee, blocked or not. With PTRACE_O_TRACESYSGOOD a stop that meets the tracer's death is no
// signal at all. SIGSTOP cannot be blocked: it is let through, so that the kernel knows of the
// job-control stop and takes it up again when we detach, and the thread is sent on.
#include "engine/tracee/remote_call.h"

#include <linux/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "engine/base/sys.h"
#include "engine/base/turns.h"

namespace ncr {
namespace {

constexpr int kSyscallStop = SIGTRAP | 0x80;
constexpr int kRunning = -1;

Result<> request(long number, pid_t tid, unsigned long address, unsigned long data,
                 const char* name) {
  Result<long> done =
      SYSCALL(::syscall(SYS_ptrace, number, tid, address, data), "thread %d: ptrace %s", tid, name);
  if (!done.ok() && done.error().os_error() == ESRCH)
    return Error::gone(strf("thread %d is gone (ptrace %s)", tid, name));
  if (!done.ok()) return done.take_error();
  return {};
}

bool is_fault(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE ||
         signal == SIGSYS || signal == SIGTRAP;
}

// A leader that was killed is no zombie to wait for until its threads are collected, so waitid
// alone may tell nothing of it. One that is on its way out has lost memory and descriptors already.
bool is_dead(pid_t tid) {
  constexpr unsigned kExiting = 4;  // PF_EXITING
  Result<std::string> stat = sys::read_file(strf("/proc/%d/stat", tid).c_str());
  if (!stat.ok()) return true;
  const size_t name_end = stat.value().rfind(')');
  if (name_end == std::string::npos) return true;
  char state = 'X';
  unsigned flags = 0;
  if (std::sscanf(stat.value().c_str() + name_end + 1, " %c %*d %*d %*d %*d %*d %u", &state,
                  &flags) != 2)
    return true;
  return state == 'Z' || state == 'X' || (flags & kExiting) != 0;
}

// The next stop of the thread as waitid's si_status, kRunning if there is none yet. An exit is left
// for whoever has to collect it.
Result<int> poll_stop(pid_t tid) {
  siginfo_t info{};
  const auto id = static_cast<id_t>(tid);
  Result<int> waited =
      SYSCALL(::waitid(P_PID, id, &info, WSTOPPED | WEXITED | WNOWAIT | WNOHANG | __WALL),
              "waitid %d", tid);
  if (!waited.ok() && waited.error().os_error() == ECHILD)
    return Error::gone(strf("thread %d is gone", tid));
  if (!waited.ok()) return waited.take_error();
  if (info.si_pid == 0) return kRunning;
  if (info.si_code != CLD_TRAPPED) return Error::gone(strf("thread %d exited", tid));
  const int status = info.si_status;
  waited = SYSCALL(::waitid(P_PID, id, &info, WSTOPPED | WNOHANG | __WALL), "waitid %d", tid);
  if (!waited.ok() || info.si_pid == 0) return Error::gone(strf("thread %d was killed", tid));
  return status;
}

Result<int> wait_stop(pid_t tid) {
  for (Patience patience;; patience.wait()) {
    const int status = TRY(poll_stop(tid));
    if (status != kRunning) return status;
    if (patience.is_long() && is_dead(tid)) return Error::gone(strf("thread %d was killed", tid));
  }
}

// Until the stop that is reported as `wanted`.
Result<> run_to_stop(const SeizedThread& thread, int how, const char* name, int wanted) {
  unsigned long inject = 0;
  for (;;) {
    TRY(request(how, thread.tid(), 0, inject, name));
    const int status = TRY(wait_stop(thread.tid()));
    if (status == wanted) return {};
    const bool is_signal = (status >> 8) == 0;
    if (is_signal && is_fault(status))
      return Error::system(
          EFAULT, strf("thread %d got signal %d in code of ours; it goes on unharmed", thread.tid(),
                       status));
    inject = is_signal ? static_cast<unsigned long>(status) : 0;
  }
}

Result<> run_to_syscall_stop(const SeizedThread& thread) {
  return run_to_stop(thread, PTRACE_SYSCALL, "SYSCALL", kSyscallStop);
}

Result<bool> has_seccomp(pid_t tid) {
  const std::string status = TRY(sys::read_file(strf("/proc/%d/status", tid).c_str()));
  const size_t at = status.find("\nSeccomp:");
  return at != std::string::npos && std::atoi(status.c_str() + at + sizeof "\nSeccomp:" - 1) != 0;
}

}  // namespace

Result<arch::Registers> get_registers(const SeizedThread& thread) {
  arch::Registers registers{};
  iovec area{&registers, sizeof registers};
  TRY(request(PTRACE_GETREGSET, thread.tid(), arch::kGeneralRegset,
              reinterpret_cast<unsigned long>(&area), "GETREGSET"));
  if (area.iov_len != sizeof registers || !arch::is_native(registers))
    return Error::unsupported(
        strf("thread %d runs in another mode of this processor (32-bit code); only 64-bit programs "
             "can be "
             "checkpointed",
             thread.tid()));
  return registers;
}

Result<> set_registers(const SeizedThread& thread, const arch::Registers& registers) {
  iovec area{const_cast<arch::Registers*>(&registers), sizeof registers};
  return request(PTRACE_SETREGSET, thread.tid(), arch::kGeneralRegset,
                 reinterpret_cast<unsigned long>(&area), "SETREGSET");
}

Result<> prepare_remote_calls(const SeizedThread& thread) {
  Result<> both = request(PTRACE_SETOPTIONS, thread.tid(), 0,
                          PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP, "SETOPTIONS");
  if (both.ok()) return {};
  if (both.error().code() == ErrorCode::kGone) return both.take_error();
  const bool filtered = TRY(has_seccomp(thread.tid()));
  if (filtered)
    return Error::unsupported(
        strf("thread %d has seccomp filters, and they cannot be suspended (this needs "
             "CAP_SYS_ADMIN, a kernel "
             "with CONFIG_CHECKPOINT_RESTORE, and no filters on the caller)",
             thread.tid()));
  return request(PTRACE_SETOPTIONS, thread.tid(), 0, PTRACE_O_TRACESYSGOOD, "SETOPTIONS");
}

Result<> run_one_call(const SeizedThread& thread) {
  TRY(run_to_syscall_stop(thread));
  return run_to_syscall_stop(thread);
}

Result<> run_to_own_stop(const SeizedThread& thread, int signal) {
  return run_to_stop(thread, PTRACE_CONT, "CONT", signal);
}

Error explain(Error error, pid_t tid) {
  if (error.code() == ErrorCode::kGone) return error;
  if (error.os_error() != ESRCH && !is_dead(tid)) return error;
  return Error::gone(strf("thread %d was killed meanwhile (%s)", tid, error.text().c_str()));
}

}  // namespace ncr
