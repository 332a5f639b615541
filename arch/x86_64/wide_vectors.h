// Vectors that not every CPU of this architecture has.
#pragma once

namespace ncr::arch {

// AVX2 (-mavx2), and the kernel keeps it across context switches.
inline bool has_wide_vectors() { return __builtin_cpu_supports("avx2") != 0; }

}  // namespace ncr::arch
