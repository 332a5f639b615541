#include "engine/memory/shift.h"

#include <gtest/gtest.h>

namespace ncr {
namespace {

constexpr uint64_t kGib = 1ull << 30;
constexpr uint64_t kEnd = 1ull << 47;

const std::vector<AddressRange> kOwn{{0x555500000000, 0x555500100000},
                                     {0x7f1200000000, 0x7f1200400000},
                                     {0x7ffc00000000, 0x7ffc00021000}};

bool overlap(uint64_t start, uint64_t end, const std::vector<AddressRange>& ranges) {
  for (const AddressRange& range : ranges)
    if (start < range.end && range.start < end) return true;
  return false;
}

void expect_sound(const std::vector<AddressRange>& finals, uint64_t shift) {
  EXPECT_EQ(shift % kGib, 0u);
  EXPECT_NE(shift, 0u);
  for (const AddressRange& range : finals) {
    const uint64_t start = (range.start + shift) & (kEnd - 1);
    const uint64_t end = start + (range.end - range.start);
    EXPECT_LE(end, kEnd - 4096) << std::hex << range.start;
    EXPECT_GE(start, 1u << 20) << std::hex << range.start;
    EXPECT_FALSE(overlap(start, end, finals)) << std::hex << range.start;
    EXPECT_FALSE(overlap(start, end, kOwn)) << std::hex << range.start;
  }
}

void expect_found(const std::vector<AddressRange>& finals) {
  Result<uint64_t> shift = choose_shift(finals, kOwn, kEnd);
  ASSERT_TRUE(shift.ok()) << shift.error().text();
  expect_sound(finals, shift.value());
}

TEST(Shift, an_ordinary_program_fits) {
  expect_found({{0x560000000000, 0x560000200000},
                {0x7f0000000000, 0x7f0040000000},
                {0x7ffd00000000, 0x7ffd00100000}});
}

TEST(Shift, a_program_at_the_bottom_and_a_stack_at_the_very_top_fit) {
  expect_found({{0x400000, 0x500000}, {0x7ffffffde000, 0x7ffffffff000}});
}

TEST(Shift, a_program_at_the_same_addresses_as_ours_fits) { expect_found(kOwn); }

TEST(Shift, a_sanitizers_shadow_of_16_tebibytes_fits) {
  expect_found({{0x7fff8000, 0x10007fff8000}, {0x7f0000000000, 0x7f0040000000}});
}

TEST(Shift, mappings_of_several_tasks_that_overlap_fit) {
  expect_found({{0x400000, 0x40000000}, {0x500000, 0x600000}, {0x30000000, 0x50000000}});
}

TEST(Shift, a_tree_that_reserves_everything_is_refused) {
  EXPECT_EQ(choose_shift({{0x10000, 0x500000000000}}, kOwn, kEnd).error().code(),
            ErrorCode::kUnsupported);
}

TEST(Shift, a_mapping_outside_user_space_is_refused) {
  EXPECT_EQ(choose_shift({{kEnd, kEnd + 4096}}, kOwn, kEnd).error().code(),
            ErrorCode::kUnsupported);
}

TEST(Shift, a_small_address_space_works_too) {
  Result<uint64_t> shift = choose_shift({{0x400000, 0x500000}, {0x7f00000000, 0x7f00001000}},
                                        {{0x5500000000, 0x5500001000}}, 1ull << 39);
  ASSERT_TRUE(shift.ok());
  EXPECT_EQ(shift.value() % kGib, 0u);
}

}  // namespace
}  // namespace ncr
