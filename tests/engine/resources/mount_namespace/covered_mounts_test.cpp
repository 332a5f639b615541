#include "engine/resources/mount_namespace/covered_mounts.h"

#include <gtest/gtest.h>

namespace ncr::mount_namespace {
namespace {

std::vector<MountLine> table(const std::string& text) { return parse_mountinfo(text).take(); }

constexpr const char* kTable =
    "7 1 254:0 / / rw - ext4 /dev/vda rw\n"
    "8 7 0:51 / /a rw - tmpfs x rw\n"
    "9 8 0:52 / /a rw - tmpfs cover rw\n"
    "10 8 0:53 / /a/b/c rw - tmpfs x rw\n"
    "11 8 0:54 / /a/b rw - tmpfs x rw\n";

TEST(covered_mounts, covers_go_first_and_what_they_hid_afterwards) {
  std::vector<MountLine> lines = table(kTable);
  std::vector<uint32_t> order;
  for (size_t index : order_of_removal(lines)) order.push_back(lines[index].id);
  EXPECT_EQ(order, (std::vector<uint32_t>{9, 11, 10, 8, 7}));
}

TEST(covered_mounts, the_lines_of_a_copy_are_found_by_their_place) {
  std::vector<MountLine> lines = table(kTable);
  std::vector<MountLine> copy = table(
      "55 51 0:54 / /a/b rw - tmpfs x rw\n"
      "52 51 0:52 / /a rw - tmpfs cover rw\n"
      "51 50 0:51 / /a rw - tmpfs x rw\n"
      "54 51 0:99 / /a/b/c rw - tmpfs another rw\n"
      "50 40 254:0 / / rw - ext4 /dev/vda rw\n");
  std::map<uint32_t, const MountLine*> matched = match_tables(lines, copy);
  ASSERT_EQ(matched.size(), 4u);
  EXPECT_EQ(matched.at(7)->id, 50u);
  EXPECT_EQ(matched.at(8)->id, 51u);
  EXPECT_EQ(matched.at(9)->id, 52u);
  EXPECT_EQ(matched.at(11)->id, 55u);
}

TEST(covered_mounts, a_table_that_goes_round_in_a_circle_ends) {
  std::vector<MountLine> lines = table(
      "8 9 0:51 / /a rw - tmpfs x rw\n"
      "9 8 0:51 / /b rw - tmpfs x rw\n");
  EXPECT_TRUE(order_of_removal(lines).empty());
  EXPECT_TRUE(match_tables(lines, lines).empty());
}

}  // namespace
}  // namespace ncr::mount_namespace
