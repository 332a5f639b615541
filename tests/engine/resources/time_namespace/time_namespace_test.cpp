#include <gtest/gtest.h>

#include "engine/resources/time_namespace/offsets.h"

namespace ncr::time_namespace {
namespace {

TEST(time_namespace, offsets_are_read_by_clock) {
  auto offsets = parse_offsets("monotonic           -2  500000000\nboottime            7          0\n");
  ASSERT_TRUE(offsets.ok());
  EXPECT_EQ(offsets.value().monotonic_ns, -1'500'000'000);
  EXPECT_EQ(offsets.value().boottime_ns, 7'000'000'000);
}

TEST(time_namespace, a_strange_line_is_refused) {
  EXPECT_FALSE(parse_offsets("monotonic\n").ok());
  EXPECT_FALSE(parse_offsets("?").ok());
}

}  // namespace
}  // namespace ncr::time_namespace
