// Nothing may be included here but C headers: an inline function of the C++ library, compiled for
// wide vectors, could become the program's only copy of it.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/base/xxh3_wide.h"

void ncr::xxh3_128_wide(const void* data, size_t size, uint64_t seed, unsigned char* digest) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(data, size, seed));
  __builtin_memcpy(digest, canonical.digest, sizeof canonical.digest);
}
