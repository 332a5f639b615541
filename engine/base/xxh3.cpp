#include "engine/base/xxh3.h"

#include <xxhash.h>

#include <cstring>

#include "arch_current/wide_vectors.h"
#include "engine/base/xxh3_wide.h"

namespace ncr {

Digest xxh3_128(const void* data, size_t size, uint64_t seed) {
  static const bool wide = arch::has_wide_vectors();
  Digest digest;
  if (wide) {
    xxh3_128_wide(data, size, seed, digest.data());
    return digest;
  }
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(data, size, seed));
  static_assert(sizeof canonical.digest == sizeof digest);
  std::memcpy(digest.data(), canonical.digest, sizeof digest);
  return digest;
}

}  // namespace ncr
