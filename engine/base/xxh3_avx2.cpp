// Nothing may be included here but C headers: an inline function of the C++ library, compiled for
// AVX2, could become the program's only copy of it.
#ifdef __x86_64__
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/base/xxh3_avx2.h"

static_assert(XXH_VECTOR == XXH_AVX2);

void ncr::xxh3_128_avx2(const void* data, size_t size, uint64_t seed, unsigned char* digest) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(data, size, seed));
  __builtin_memcpy(digest, canonical.digest, sizeof canonical.digest);
}
#endif
