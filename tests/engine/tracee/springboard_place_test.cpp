#include "engine/tracee/springboard_place.h"

#include <gtest/gtest.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <cstring>
#include <string>

namespace ncr {
namespace {

std::string own_vdso() {
  std::string image(2 * kPageSize, 0);
  std::memcpy(image.data(), reinterpret_cast<const void*>(getauxval(AT_SYSINFO_EHDR)),
              image.size());
  return image;
}

TEST(SpringboardPlace, lies_behind_everything_the_headers_of_the_vdso_account_for) {
  const std::string image = own_vdso();
  const size_t place = unused_tail_of_vdso(image, 512);
  if (place == 0) GTEST_SKIP() << "no room in this kernel's vDSO";
  EXPECT_EQ(place % 16, 0u);
  for (size_t at = place; at < image.size(); at++) ASSERT_EQ(image[at], 0) << at;
  EXPECT_EQ(unused_tail_of_vdso(image, image.size() - place + 1), 0u) << "too large";
}

TEST(SpringboardPlace, what_a_killed_engine_left_behind_is_used_again_and_anything_else_is_not) {
  std::string image = own_vdso();
  const size_t place = unused_tail_of_vdso(image, 512);
  if (place == 0) GTEST_SKIP() << "no room in this kernel's vDSO";
  image[place + 100] = 1;
  EXPECT_EQ(unused_tail_of_vdso(image, 512), 0u);
  std::memcpy(image.data() + place, kSpringboardMagic, sizeof kSpringboardMagic);
  EXPECT_EQ(unused_tail_of_vdso(image, 512), place);
}

TEST(SpringboardPlace, a_damaged_image_is_no_place) {
  std::string image = own_vdso();
  EXPECT_EQ(unused_tail_of_vdso("", 512), 0u);
  EXPECT_EQ(unused_tail_of_vdso(std::string_view(image).substr(0, 200), 16), 0u);
  image[0x28 + 6] = 0x7f;  // e_shoff far away
  EXPECT_EQ(unused_tail_of_vdso(image, 512), 0u);
}

}  // namespace
}  // namespace ncr
