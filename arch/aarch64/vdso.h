// What is particular to this architecture in a vDSO. Pure.
#pragma once

#include <asm/unistd.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace ncr::arch {

inline constexpr std::string_view kSystemCallInstruction{"\x01\x00\x00\xd4", 4};
inline constexpr size_t kInstructionAlignment = 4;

// ldr x16, .+8; br x16; the target. x16 is free between a call and the function called.
inline std::string vdso_jump(uint64_t target) {
  std::string code("\x50\x00\x00\x58\x00\x02\x1f\xd6........", 16);
  std::memcpy(code.data() + 8, &target, sizeof target);
  return code;
}

// mov x8, #number; svc #0; ret.
inline std::string vdso_system_call(uint32_t number) {
  const uint32_t move = 0xd2800008u | (number << 5);
  std::string code("....\x01\x00\x00\xd4\xc0\x03\x5f\xd6", 12);
  std::memcpy(code.data(), &move, sizeof move);
  return code;
}

// Number of the system call behind a function of the vDSO; -1 if it has none, or must keep its own
// code.
inline long vdso_fallback(std::string_view function) {
  if (function == "__kernel_gettimeofday") return __NR_gettimeofday;
  if (function == "__kernel_clock_gettime") return __NR_clock_gettime;
  if (function == "__kernel_clock_getres") return __NR_clock_getres;
  if (function == "__kernel_getrandom") return __NR_getrandom;
  return -1;
}

// A function whose own code does not depend on the data pages, and is recognised by its bytes
// (unwinders look for it).
inline bool vdso_keeps(std::string_view function) { return function == "__kernel_rt_sigreturn"; }

}  // namespace ncr::arch
