#include "engine/memory/address_ranges.h"

#include <gtest/gtest.h>

#include "engine/base/ids.h"

namespace ncr {
namespace {

std::string show(const std::vector<AddressRange>& ranges) {
  std::string text;
  for (const AddressRange& range : ranges)
    text += strf("%lx-%lx ", static_cast<unsigned long>(range.start),
                 static_cast<unsigned long>(range.end));
  return text;
}

TEST(AddressRanges, maps_lines_are_understood) {
  auto mappings =
      parse_maps(
          "00400000-00401000 r-xp 00001000 fe:00 123                    /a file (deleted)\n"
          "7ff000000000-7ff000002000 rw-p 00000000 00:00 0 \n"
          "7ff000003000-7ff000004000 r--p 00000000 00:00 0              [vvar_vclock]\n"
          "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0      [vsyscall]\n")
          .take();
  ASSERT_EQ(mappings.size(), 3u);
  EXPECT_EQ(mappings[0].range.start, 0x400000u);
  EXPECT_EQ(mappings[0].name, "/a file (deleted)");
  EXPECT_EQ(mappings[1].range.end, 0x7ff000002000u);
  EXPECT_EQ(mappings[1].name, "");
  EXPECT_EQ(mappings[2].name, "[vvar_vclock]");
}

TEST(AddressRanges, a_strange_maps_line_is_refused) {
  EXPECT_EQ(parse_maps("nonsense\n").error().code(), ErrorCode::kMalformed);
  EXPECT_EQ(parse_maps("2000-1000 r--p 00000000 00:00 0 \n").error().code(), ErrorCode::kMalformed);
}

TEST(AddressRanges, ranges_that_touch_or_overlap_become_one) {
  EXPECT_EQ(show(merged({{5, 7}, {1, 2}, {2, 3}, {6, 9}, {4, 4}})), "1-3 5-9 ");
}

TEST(AddressRanges, gaps_are_what_is_not_kept) {
  EXPECT_EQ(show(gaps_between({{2, 4}, {6, 8}}, 10)), "0-2 4-6 8-a ");
  EXPECT_EQ(show(gaps_between({{0, 4}, {8, 12}}, 10)), "4-8 ");
  EXPECT_EQ(show(gaps_between({}, 10)), "0-a ");
}

TEST(AddressRanges, the_common_part_keeps_boundaries_of_both) {
  EXPECT_EQ(show(common({{0, 4}, {4, 8}}, {{2, 6}, {6, 7}})), "2-4 4-6 6-7 ");
  EXPECT_EQ(show(common({{0, 1}}, {{1, 2}})), "");
}

TEST(AddressRanges, a_gap_has_room_and_a_margin) {
  const uint64_t mib = 1 << 20;
  std::vector<AddressRange> taken{{0, 10 * mib}, {20 * mib, 30 * mib}};
  uint64_t at = find_gap(taken, 2 * mib, 30 * mib).take();
  EXPECT_GT(at, 10 * mib);
  EXPECT_LT(at + 2 * mib, 20 * mib);
  EXPECT_EQ(at % kPageSize, 0u);
  EXPECT_EQ(find_gap(taken, 9 * mib, 30 * mib).error().code(), ErrorCode::kUnsupported);
}

TEST(AddressRanges, user_space_ends_above_our_own_stack) {
  int local = 0;
  EXPECT_GT(user_space_end(), reinterpret_cast<uint64_t>(&local));
  EXPECT_EQ(user_space_end() & (user_space_end() - 1), 0u);
}

}  // namespace
}  // namespace ncr
