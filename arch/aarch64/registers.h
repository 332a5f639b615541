// Registers of a stopped aarch64 thread, and what is pure about them.
//
// Unlike x86_64, the kernel rewinds an interrupted call before the thread stops (do_signal,
// arch/arm64/kernel/signal.c: "a debugger will see the already changed PC"), so a stopped thread's
// registers are already those that issue the call again. Only restart_syscall is put in after the
// stop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "arch/resume.h"

namespace ncr::arch::aarch64 {

constexpr unsigned kExtendedRegset = 2;  // NT_PRFPREG: V0-V31, fpsr, fpcr
constexpr unsigned kSyscallLength = 4;

// struct user_pt_regs of the kernel.
struct Registers {
  uint64_t x[31];
  uint64_t sp_el0;
  uint64_t pc;
  uint64_t pstate;
};
static_assert(sizeof(Registers) == 272);

inline uint64_t ip(const Registers& registers) { return registers.pc; }
inline uint64_t sp(const Registers& registers) { return registers.sp_el0; }
inline uint64_t flags(const Registers& registers) { return registers.pstate; }
inline int64_t result(const Registers& registers) { return static_cast<int64_t>(registers.x[0]); }
inline void set_ip(Registers& registers, uint64_t value) { registers.pc = value; }
inline void set_sp(Registers& registers, uint64_t value) { registers.sp_el0 = value; }
// The register that the springboard's spare call hands on to its munmap.
inline void set_kept(Registers& registers, uint64_t value) { registers.x[19] = value; }

// Makes the next `svc` instruction this call.
inline void set_syscall(Registers& registers, uint64_t number,
                        std::initializer_list<uint64_t> arguments) {
  size_t index = 0;
  for (uint64_t argument : arguments) registers.x[index++] = argument;
  registers.x[8] = number;
}

// The state in which a blob begins.
inline Registers enter_blob(Registers own, uint64_t entry, uint64_t stack, uint64_t session) {
  own.pc = entry;
  own.sp_el0 = stack;
  own.x[0] = session;
  own.x[29] = 0;
  return own;
}

// PSR_MODE32_BIT: a thread in 32-bit code has other call numbers and other registers.
inline bool is_native(const Registers& registers) { return (registers.pstate & 0x10) == 0; }
inline bool is_64bit(const Registers& registers) { return is_native(registers); }

// The number is in its own regset (NT_ARM_SYSTEM_CALL); a rewound call is issued again whole, so
// none is ever lost.
inline bool in_restarted_syscall(const Registers&) { return false; }
inline int64_t syscall_number_in_code(const unsigned char (&)[7]) { return -1; }
inline Registers resume_registers(Registers registers, ResumeIn, int64_t = -1) { return registers; }
// Rewound before the stop; what it would have ended with is not to be seen any more.
inline bool ends_by_handler(const Registers&, bool) { return false; }
inline Registers end_syscall(Registers registers) { return registers; }

}  // namespace ncr::arch::aarch64
