// Leaves our own code for a blob in the same process: another stack, one argument, no way back.
#pragma once

#include <cstdint>

namespace ncr::arch {

[[noreturn]] inline void enter_blob(uint64_t entry, uint64_t stack_top, uint64_t argument) {
  asm volatile("mov %1, %%rsp\n\txor %%ebp, %%ebp\n\tjmp *%0"
               :
               : "r"(entry), "r"(stack_top), "D"(argument)
               : "memory");
  __builtin_unreachable();
}

}  // namespace ncr::arch
