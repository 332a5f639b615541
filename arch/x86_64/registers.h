// Registers of a stopped x86_64 thread, and what is pure about them.
//
// A thread stopped inside a system call shows the call's number in orig_rax and -ERESTART* in rax.
// The kernel rewinds it on the way to user mode, after the stop (arch_do_signal_or_restart,
// arch/x86/kernel/signal.c); resume_registers does the same on paper, for a thread that goes on
// without that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "arch/resume.h"

namespace ncr::arch::x86_64 {

constexpr unsigned kExtendedRegset = 0x202;  // NT_X86_XSTATE
constexpr unsigned kSyscallLength = 2;
constexpr uint64_t kNoSyscall = ~uint64_t{0};

// struct user_regs_struct of the kernel.
struct Registers {
  uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip,
      cs, eflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs;
};
static_assert(sizeof(Registers) == 216);

inline uint64_t ip(const Registers& registers) { return registers.rip; }
inline uint64_t sp(const Registers& registers) { return registers.rsp; }
inline uint64_t flags(const Registers& registers) { return registers.eflags; }
inline int64_t result(const Registers& registers) { return static_cast<int64_t>(registers.rax); }
inline void set_ip(Registers& registers, uint64_t value) { registers.rip = value; }
inline void set_sp(Registers& registers, uint64_t value) { registers.rsp = value; }
// The register that the springboard's spare call hands on to its munmap.
inline void set_kept(Registers& registers, uint64_t value) { registers.r12 = value; }

// Makes the next `syscall` instruction this call.
inline void set_syscall(Registers& registers, uint64_t number,
                        std::initializer_list<uint64_t> arguments) {
  uint64_t* const places[] = {&registers.rdi, &registers.rsi, &registers.rdx,
                              &registers.r10, &registers.r8,  &registers.r9};
  size_t index = 0;
  for (uint64_t argument : arguments) *places[index++] = argument;
  registers.rax = number;
  registers.orig_rax = kNoSyscall;
}

// The state in which a blob begins: segments and bases are the thread's own.
inline Registers enter_blob(Registers own, uint64_t entry, uint64_t stack, uint64_t session) {
  constexpr uint64_t kTrapDirectionNested = 0x100 | 0x400 | 0x4000;
  own.rip = entry;
  own.rsp = stack;
  own.rdi = session;
  own.rbp = 0;
  own.orig_rax = kNoSyscall;
  own.eflags &= ~kTrapDirectionNested;
  return own;
}

// A thread in 32-bit code has other call numbers and other registers.
inline bool is_native(const Registers& registers) { return registers.cs == 0x33; }
inline bool is_64bit(const Registers& registers) { return is_native(registers); }

inline bool in_syscall(const Registers& registers) {
  return static_cast<int64_t>(registers.orig_rax) >= 0;
}
inline bool in_restarted_syscall(const Registers& registers) {
  constexpr uint64_t kRestartSyscall = 219;
  return registers.orig_rax == kRestartSyscall && result(registers) == kRestartBlock;
}

// The kernel forgets the number of a call that it once restarted with restart_syscall; the code
// before the `syscall` instruction, mov $number,%eax in every libc and in Go, still tells. `code`:
// the 7 bytes before ip. -1: not recognised.
inline int64_t syscall_number_in_code(const unsigned char (&code)[7]) {
  constexpr unsigned kNanosleep = 35, kClockNanosleep = 230, kPoll = 7,
                     kFutex = 202;  // all that use the restart block
  if (code[0] != 0xb8 || code[5] != 0x0f || code[6] != 0x05) return -1;
  unsigned number = 0;
  for (unsigned byte = 0; byte < 4; byte++)
    number |= static_cast<unsigned>(code[1 + byte]) << (8 * byte);
  const bool known =
      number == kNanosleep || number == kClockNanosleep || number == kPoll || number == kFutex;
  return known ? static_cast<int64_t>(number) : -1;
}

// Whether an interrupted call ends with EINTR when a handler runs (handle_signal,
// arch/x86/kernel/signal.c); `restarts`: the handler has SA_RESTART.
inline bool ends_by_handler(const Registers& registers, bool restarts) {
  if (!in_syscall(registers)) return false;
  const int64_t code = result(registers);
  return code == kRestartNoHand || code == kRestartBlock || (code == kRestartSys && !restarts);
}
inline Registers end_syscall(Registers registers) {
  constexpr int64_t kInterrupted = -4;
  registers.rax = static_cast<uint64_t>(kInterrupted);
  registers.orig_rax = kNoSyscall;
  return registers;
}

// The registers with which a thread goes on without the kernel's help: not in a system call, an
// interrupted one about to be issued again. `lost_number` is syscall_number_in_code() for a thread
// in_restarted_syscall(); without it such a call ends with EINTR in a new task.
inline Registers resume_registers(Registers registers, ResumeIn where, int64_t lost_number = -1) {
  constexpr uint64_t kRestartSyscall = 219;
  constexpr int64_t kInterrupted = -4;
  const uint64_t number = registers.orig_rax;
  const bool was_in_syscall = in_syscall(registers);
  registers.orig_rax = kNoSyscall;
  if (!was_in_syscall) return registers;
  switch (result(registers)) {
    case kRestartSys:
    case kRestartNoIntr:
    case kRestartNoHand:
      registers.rax = number;
      break;
    case kRestartBlock:
      registers.rax = number;
      if (where == ResumeIn::kSameTask) registers.rax = kRestartSyscall;
      if (where == ResumeIn::kNewTask && number == kRestartSyscall) {
        registers.rax = static_cast<uint64_t>(lost_number < 0 ? kInterrupted : lost_number);
        if (lost_number < 0) return registers;
      }
      break;
    default:
      return registers;
  }
  registers.rip -= kSyscallLength;
  return registers;
}

}  // namespace ncr::arch::x86_64
