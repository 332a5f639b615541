// Flags of open(2) that libc hides, as the kernel keeps them.
#pragma once

#include <stdint.h>

namespace ncr::arch {

// Set by every open() of a 64-bit process, never by pipe2(); libc defines O_LARGEFILE as 0.
constexpr uint32_t kLargeFile = 0400000;

}  // namespace ncr::arch
