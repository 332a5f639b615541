// What a thread computes with: the general registers (NT_PRSTATUS) and everything that XSAVE keeps
// (NT_X86_XSTATE), in the kernel's own regset layout, whatever its size. The kernel keeps the first
// in pt_regs on the thread's kernel stack, the second in its fpu; userspace sees both only by
// ptrace.
//
// Runs in the engine, with the thread stopped in its own registers. What is kept is how the thread
// goes on in a new task: an interrupted system call about to be issued again, or ended with EINTR
// if a handler runs first; a restartable sequence at its abort handler. The restore sets the
// regsets by ptrace (docs/adr/0002), so there is no restorer half.
#include <sys/ptrace.h>

#include <csignal>
#include <cstring>

#include "arch/arch.h"
#include "engine/resources/registers/next_handler.h"
#include "engine/resources/room.h"
#include "engine/tracee/remote_memory.h"
#include "engine/tracee/rseq.h"

namespace ncr::registers {
namespace {

// Such a thread could not run our code either. Kernels before 6.4 cannot say.
bool dispatches_syscalls(const SeizedThread& thread) {
  constexpr int kGetConfiguration = 0x4211;  // PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG
  struct {
    uint64_t mode, selector, offset, length;
  } configuration{};
  auto got = SYSCALL(::ptrace(static_cast<__ptrace_request>(kGetConfiguration), thread.tid(),
                              sizeof configuration, &configuration),
                     "PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG");
  return got.ok() && configuration.mode != 0;
}

Result<> preflight_thread(const Task& task, const SeizedThread& thread, Blockers& blockers) {
  std::vector<char> general = TRY(thread.get_regset(arch::kGeneralRegset));
  arch::Registers registers{};
  memcpy(&registers, general.data(), std::min(general.size(), sizeof registers));
  // The kernel gives the smaller regset of its kind for a 32-bit program.
  if (general.size() != sizeof registers || !arch::is_native(registers))
    blockers.add(task, strf("thread %d", thread.tid()), "runs 32-bit code, which is not supported");
  if (dispatches_syscalls(thread))
    blockers.add(task, strf("thread %d", thread.tid()),
                 "takes its own system calls as signals (PR_SET_SYSCALL_USER_DISPATCH)");
  const ThreadStatus* status = TRY(task.status(thread.tid()));
  const std::string_view untag = proc::field(status->text, "untag_mask");
  if (!untag.empty() && untag != "0xffffffffffffffff")
    blockers.add(task, strf("thread %d", thread.tid()), "uses tagged addresses (LAM)");
  if (proc::field(status->text, "x86_Thread_features").find("shstk") != std::string_view::npos)
    blockers.add(task, strf("thread %d", thread.tid()), "has a shadow stack (user CET)",
                 "start it with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off");
  return {};
}

Result<> preflight(const Task& task, Blockers& blockers) {
  for (const SeizedThread& thread : task.threads) TRY(preflight_thread(task, thread, blockers));
  return {};
}

Result<> look_thread(const Task&, const SeizedThread& thread, schema::Thread* record) {
  std::vector<char> general = TRY(thread.get_regset(arch::kGeneralRegset));
  arch::Registers registers{};
  if (general.size() != sizeof registers) return {};  // 32-bit: preflight refuses the task
  memcpy(&registers, general.data(), sizeof registers);
  registers = TRY(leave_restartable_sequence(thread, registers));
  record->set_general_registers(&registers, sizeof registers);
  std::vector<char> extended = TRY(thread.get_regset(arch::kExtendedRegset));
  record->set_extended_state(extended.data(), extended.size());
  return {};
}

// The number of a call that was restarted before, which only the thread's code still tells.
int64_t lost_call(pid_t tid, const arch::Registers& registers) {
  unsigned char code[7] = {};
  if (!arch::in_restarted_syscall(registers)) return -1;
  if (!read_remote(tid, {arch::ip(registers) - sizeof code}, code, sizeof code).ok()) return -1;
  return arch::syscall_number_in_code(code);
}

// Comes after signal_action in the list of rooms, for it looks at the handlers.
Result<> read(const Task& task, const Batch&, schema::Task* record) {
  for (int i = 0; i < record->threads_size(); i++) {
    schema::Thread* thread = record->mutable_threads(i);
    arch::Registers registers{};
    if (thread->general_registers().size() != sizeof registers) continue;
    memcpy(&registers, thread->general_registers().data(), sizeof registers);
    const schema::SignalAction* handler = next_handler(*record, *thread);
    if (handler != nullptr &&
        arch::ends_by_handler(registers, (handler->flags() & SA_RESTART) != 0))
      registers = arch::end_syscall(registers);
    else
      registers =
          arch::resume_registers(registers, arch::ResumeIn::kNewTask,
                                 lost_call(task.threads[static_cast<size_t>(i)].tid(), registers));
    thread->set_general_registers(&registers, sizeof registers);
  }
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {
    .name = "registers", .preflight = preflight, .look_thread = look_thread, .read = read};

}  // namespace ncr::registers
