#include "engine/base/xxh3.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <cstring>
#include <vector>

namespace ncr {
namespace {

TEST(Xxh3, is_what_the_library_says_whatever_the_cpu) {
  std::vector<unsigned char> bytes(300'000);
  for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<unsigned char>(i * 7 + i / 251);
  for (size_t size : {0, 1, 16, 17, 240, 241, 1024, 4096, 4097, 262'144, 300'000})
    for (uint64_t seed : {uint64_t{0}, uint64_t{0x9e3779b97f4a7c15}}) {
      XXH128_canonical_t expected;
      XXH128_canonicalFromHash(&expected, XXH3_128bits_withSeed(bytes.data(), size, seed));
      const Digest digest = xxh3_128(bytes.data(), size, seed);
      EXPECT_EQ(std::memcmp(digest.data(), expected.digest, digest.size()), 0) << size;
    }
  XXH128_canonical_t unseeded;
  XXH128_canonicalFromHash(&unseeded, XXH3_128bits(bytes.data(), bytes.size()));
  EXPECT_EQ(std::memcmp(xxh3_128(bytes.data(), bytes.size()).data(), unseeded.digest, 16), 0);
}

}  // namespace
}  // namespace ncr
