// XXH3, 128 bits, canonical (big-endian): by the widest vectors that this CPU has. The library is
// compiled for the least CPU of its architecture, which takes half as long again over large images.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ncr {

using Digest = std::array<unsigned char, 16>;

// Without a seed: as XXH3_128bits().
Digest xxh3_128(const void* data, size_t size, uint64_t seed = 0);

}  // namespace ncr
