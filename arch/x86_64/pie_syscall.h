// Raw system calls on x86_64, for the blobs. Numbers come from the kernel's own header.
#pragma once

#include <asm/unistd.h>

#include "pie/ret.h"

namespace pie {

inline Ret raw_syscall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                       long f = 0) {
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  long ret;
  asm volatile("syscall"
               : "=a"(ret)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return Ret(ret);
}

}  // namespace pie
