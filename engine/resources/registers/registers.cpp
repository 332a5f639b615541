// What a thread computes with: the general registers (NT_PRSTATUS) and everything that XSAVE keeps
// (NT_X86_XSTATE), in the kernel's own regset layout, whatever its size. The kernel keeps the first
// in pt_regs on the thread's kernel stack, the second in its fpu; userspace sees both only by
// ptrace.
//
// Runs in the engine, with the thread stopped in its own registers: a system call that was
// interrupted still shows its number and -ERESTART* there. The restore rewinds such a call and sets
// the regsets by ptrace (docs/adr/0002), so this room has no restorer half. A thread inside a
// restartable sequence is dumped at the sequence's abort handler.
#include <elf.h>

#include "engine/resources/room.h"

namespace ncr::registers {
namespace {

Result<> preflight_thread(const Task& task, const SeizedThread& thread, Blockers& blockers) {
  const ThreadStatus* status = TRY(task.status(thread.tid()));
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
  std::vector<char> general = TRY(thread.get_regset(NT_PRSTATUS));
  record->set_general_registers(general.data(), general.size());
  std::vector<char> extended = TRY(thread.get_regset(NT_X86_XSTATE));
  record->set_extended_state(extended.data(), extended.size());
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {
    .name = "registers", .preflight = preflight, .look_thread = look_thread};

}  // namespace ncr::registers
