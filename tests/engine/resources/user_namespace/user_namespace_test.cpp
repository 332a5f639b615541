#include "engine/resources/user_namespace/id_map.h"

#include <gtest/gtest.h>

namespace ncr::user_namespace {
namespace {

TEST(user_namespace, a_map_is_read_line_by_line) {
  IdRanges ranges;
  ASSERT_TRUE(
      parse_id_map("         0     100000      65536\n     70000          0          1\n", &ranges)
          .ok());
  ASSERT_EQ(ranges.size(), 2);
  EXPECT_EQ(ranges[0].outside(), 100000u);
  EXPECT_EQ(ranges[1].inside(), 70000u);
  EXPECT_EQ(inside(ranges, 100001), 1u);
  EXPECT_EQ(inside(ranges, 0), 70000u);
  EXPECT_EQ(inside(ranges, 7), std::nullopt);
}

TEST(user_namespace, without_a_map_ids_are_the_same) { EXPECT_EQ(inside({}, 7), 7u); }

TEST(user_namespace, a_strange_map_is_refused) {
  for (const char* text : {"0 0\n", "x\n", "0 0 0\n", "0 0 1 2\n", "\n"}) {
    IdRanges ranges;
    EXPECT_FALSE(parse_id_map(text, &ranges).ok()) << text;
  }
}

}  // namespace
}  // namespace ncr::user_namespace
