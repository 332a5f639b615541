// Compiled for CPUs with AVX2.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ncr {

#ifdef __x86_64__
void xxh3_128_avx2(const void* data, size_t size, uint64_t seed, unsigned char* digest);
#endif

}  // namespace ncr
