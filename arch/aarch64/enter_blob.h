// Leaves our own code for a blob in the same process: another stack, one argument, no way back.
#pragma once

#include <cstdint>

namespace ncr::arch {

[[noreturn]] inline void enter_blob(uint64_t entry, uint64_t stack_top, uint64_t argument) {
  register uint64_t x0 asm("x0") = argument;
  asm volatile("mov sp, %1\n\tmov x29, #0\n\tbr %0"
               :
               : "r"(entry), "r"(stack_top), "r"(x0)
               : "memory");
  __builtin_unreachable();
}

}  // namespace ncr::arch
