// Compiled for CPUs that have arch::has_wide_vectors().
#pragma once

#include <cstddef>
#include <cstdint>

namespace ncr {

void xxh3_128_wide(const void* data, size_t size, uint64_t seed, unsigned char* digest);

}  // namespace ncr
