#include "engine/base/xxh3.h"

#include <xxhash.h>

#include <cstring>

#include "engine/base/xxh3_avx2.h"

namespace ncr {
namespace {

#ifdef __x86_64__
const bool wide = __builtin_cpu_supports("avx2") != 0;
#endif

}  // namespace

Digest xxh3_128(const void* data, size_t size, uint64_t seed) {
  Digest digest;
#ifdef __x86_64__
  if (wide) {
    xxh3_128_avx2(data, size, seed, digest.data());
    return digest;
  }
#endif
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(data, size, seed));
  static_assert(sizeof canonical.digest == sizeof digest);
  std::memcpy(digest.data(), canonical.digest, sizeof digest);
  return digest;
}

}  // namespace ncr
