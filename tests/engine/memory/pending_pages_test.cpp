#include "engine/memory/pending_pages.h"

#include <gtest/gtest.h>

#include "engine/base/ids.h"

namespace ncr {
namespace {

constexpr uint64_t kPage = kPageSize;

PendingPages ten_pages() {
  PendingPages pages;
  pages.add(10 * kPage, 20 * kPage, 100 * kPage);
  return pages;
}

TEST(pending_pages, says_where_the_page_of_an_address_is_stored) {
  const PendingPages pages = ten_pages();
  EXPECT_FALSE(pages.at(9 * kPage, kPage));
  EXPECT_FALSE(pages.at(20 * kPage, kPage));
  auto run = pages.at(13 * kPage, 4 * kPage);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->start, 13 * kPage);
  EXPECT_EQ(run->end, 17 * kPage);
  EXPECT_EQ(run->stored, 103 * kPage);
  EXPECT_EQ(pages.at(18 * kPage, 4 * kPage)->end, 20 * kPage);
}

TEST(pending_pages, a_hole_leaves_both_sides) {
  PendingPages pages = ten_pages();
  pages.remove(12 * kPage, 15 * kPage);
  EXPECT_TRUE(pages.at(11 * kPage, kPage));
  EXPECT_FALSE(pages.at(12 * kPage, kPage));
  EXPECT_FALSE(pages.at(14 * kPage, kPage));
  EXPECT_EQ(pages.at(15 * kPage, kPage)->stored, 105 * kPage);
  EXPECT_EQ(pages.at(10 * kPage, 10 * kPage)->end, 12 * kPage);
  pages.remove(0, 100 * kPage);
  EXPECT_TRUE(pages.empty());
}

TEST(pending_pages, the_next_one_goes_around) {
  PendingPages pages = ten_pages();
  pages.add(50 * kPage, 51 * kPage, 0);
  EXPECT_EQ(pages.next(0, kPage)->start, 10 * kPage);
  EXPECT_EQ(pages.next(15 * kPage, kPage)->start, 15 * kPage);
  EXPECT_EQ(pages.next(20 * kPage, kPage)->start, 50 * kPage);
  EXPECT_EQ(pages.next(51 * kPage, kPage)->start, 10 * kPage);
  EXPECT_FALSE(PendingPages().next(0, kPage));
}

TEST(pending_pages, move_with_their_mapping) {
  PendingPages pages = ten_pages();
  pages.add(40 * kPage, 45 * kPage, 0);  // what is there is mapped over
  pages.move(12 * kPage, 41 * kPage, 3 * kPage);
  EXPECT_TRUE(pages.at(11 * kPage, kPage));
  EXPECT_FALSE(pages.at(12 * kPage, kPage));
  EXPECT_EQ(pages.at(15 * kPage, kPage)->stored, 105 * kPage);
  EXPECT_EQ(pages.at(40 * kPage, kPage)->stored, 0u);
  EXPECT_EQ(pages.at(41 * kPage, kPage)->stored, 102 * kPage);
  EXPECT_EQ(pages.at(43 * kPage, kPage)->stored, 104 * kPage);
  EXPECT_EQ(pages.at(44 * kPage, kPage)->stored, 4 * kPage);
}

}  // namespace
}  // namespace ncr
