// What is particular to this architecture in a vDSO. Pure.
#pragma once

#include <asm/unistd.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace ncr::arch {

inline constexpr std::string_view kSystemCallInstruction{"\x0f\x05", 2};
inline constexpr size_t kInstructionAlignment = 1;

// movabs $target, %r11; jmp *%r11. A function that is called may overwrite r11; rax can hold an
// argument (SGX).
inline std::string vdso_jump(uint64_t target) {
  std::string code("\x49\xbb........\x41\xff\xe3", 13);
  std::memcpy(code.data() + 2, &target, sizeof target);
  return code;
}

// mov $number, %eax; syscall; ret. The functions of the vDSO take their arguments where the system
// calls do, three at most.
inline std::string vdso_system_call(uint32_t number) {
  std::string code("\xb8....\x0f\x05\xc3", 8);
  std::memcpy(code.data() + 1, &number, sizeof number);
  return code;
}

// Number of the system call behind a function of the vDSO; -1 if it has none, or must keep its own
// code.
inline long vdso_fallback(std::string_view function) {
  if (function == "__vdso_gettimeofday" || function == "gettimeofday") return __NR_gettimeofday;
  if (function == "__vdso_clock_gettime" || function == "clock_gettime") return __NR_clock_gettime;
  if (function == "__vdso_clock_getres" || function == "clock_getres") return __NR_clock_getres;
  if (function == "__vdso_time" || function == "time") return __NR_time;
  if (function == "__vdso_getcpu" || function == "getcpu") return __NR_getcpu;
  if (function == "__vdso_getrandom" || function == "getrandom") return __NR_getrandom;
  return -1;
}

// A function whose own code does not depend on the data pages, and is recognised by its bytes.
inline bool vdso_keeps(std::string_view) { return false; }

}  // namespace ncr::arch
