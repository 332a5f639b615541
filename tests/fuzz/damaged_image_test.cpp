#include "tests/fuzz/damaged_image.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/engine/image/sample_image.h"

namespace ncr {
namespace {

TEST(damaged_image, without_damage_is_sound) {
  ScratchDir scratch;
  Result<> opened = open_damaged(scratch.path().c_str(), nullptr, 0);
  EXPECT_TRUE(opened.ok()) << opened.error().text();
}

TEST(damaged_image, is_refused_or_sound_but_never_a_crash) {
  ScratchDir scratch;
  std::mt19937 random(42);
  int refused = 0;
  for (int round = 0; round < 1500; round++) {
    std::vector<uint8_t> edits(4 * (1 + random() % 6));
    for (uint8_t& byte : edits) byte = static_cast<uint8_t>(random());
    Result<> opened = open_damaged(scratch.path().c_str(), edits.data(), edits.size());
    if (opened.ok()) continue;
    EXPECT_EQ(opened.error().code(), ErrorCode::kMalformed) << opened.error().text();
    refused++;
  }
  EXPECT_GT(refused, 300);
}

}  // namespace
}  // namespace ncr
