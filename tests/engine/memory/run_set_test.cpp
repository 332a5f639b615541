#include "engine/memory/run_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace ncr {
namespace {

RunSet runs_of(const std::set<uint64_t>& pages) {
  RunSet runs;
  for (uint64_t page : pages) append(&runs, page * kPageSize, (page + 1) * kPageSize);
  return runs;
}

TEST(run_set, operations_agree_with_sets_of_pages) {
  std::mt19937 random(7);
  for (int round = 0; round < 500; round++) {
    std::set<uint64_t> a, b, both, left, all;
    for (int i = 0; i < 30; i++) {
      if (random() % 3 != 0) a.insert(random() % 60);
      if (random() % 3 != 0) b.insert(random() % 60);
    }
    all = a;
    all.insert(b.begin(), b.end());
    for (uint64_t page : a) (b.count(page) != 0 ? both : left).insert(page);
    ASSERT_EQ(intersection(runs_of(a), runs_of(b)), runs_of(both));
    ASSERT_EQ(difference(runs_of(a), runs_of(b)), runs_of(left));
    ASSERT_EQ(set_union(runs_of(a), runs_of(b)), runs_of(all));
    ASSERT_EQ(count_pages(runs_of(a)), a.size());
    uint64_t start = random() % 60, pages = 1 + random() % 4;
    bool inside = true;
    for (uint64_t i = 0; i < pages; i++) inside &= a.count(start + i) != 0;
    ASSERT_EQ(contains(runs_of(a), {start * kPageSize, pages}), inside);
  }
}

TEST(run_set, is_empty_where_nothing_is_common) {
  EXPECT_TRUE(intersection({}, {{0, 4}}).empty());
  EXPECT_TRUE(difference({{0, 4}}, {{0, 4}}).empty());
  EXPECT_FALSE(contains({}, {0, 1}));
}

}  // namespace
}  // namespace ncr
