#include "engine/memory/shared_pages.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "tests/engine/memory/target_process.h"

namespace ncr {
namespace {

constexpr uint64_t kPages = 16;

class SharedPagesTest : public ::testing::TestWithParam<PageKey> {
 protected:
  void SetUp() override {
    at_ = static_cast<char*>(::mmap(nullptr, kPages * kPageSize, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(at_, MAP_FAILED);
    ::madvise(at_, kPages * kPageSize, MADV_NOHUGEPAGE);
    for (uint64_t i = 0; i < kPages; i++)
      std::memset(page(i), static_cast<int>('a' + i), kPageSize);
  }
  void TearDown() override { ::munmap(at_, kPages * kPageSize); }

  char* page(uint64_t i) const { return at_ + i * kPageSize; }
  uint64_t address(uint64_t i) const { return reinterpret_cast<uint64_t>(page(i)); }
  RunSet all() const { return {{address(0), kPages}}; }
  std::vector<SharedRun> add(const TargetProcess& target, const RunSet& pages) {
    Result<FoundPages> found = shared_.add(target.pid(), pages);
    EXPECT_TRUE(found.ok());
    return found.ok() ? found.take().shared : std::vector<SharedRun>();
  }

  SharedPages shared_{GetParam()};

 private:
  char* at_ = nullptr;
};

TEST_P(SharedPagesTest, finds_what_a_fork_left_common) {
  TargetProcess one;
  TargetProcess two([&] { std::memset(page(5), 'X', kPageSize); });
  EXPECT_TRUE(add(one, all()).empty());
  std::vector<SharedRun> shared = add(two, all());
  ASSERT_EQ(shared.size(), 2u);
  EXPECT_EQ(shared[0].run, (AddressRun{address(0), 5}));
  EXPECT_EQ(shared[1].run, (AddressRun{address(6), 10}));
  EXPECT_EQ(shared[0].owner, 0u);
}

TEST_P(SharedPagesTest, finds_what_siblings_share_and_their_parent_no_more) {
  TargetProcess one([&] { std::memset(page(3), 'P', kPageSize); });
  TargetProcess two;
  TargetProcess three;
  EXPECT_TRUE(add(one, all()).empty());
  EXPECT_EQ(add(two, all()).size(), 2u);
  std::vector<SharedRun> shared = add(three, all());
  ASSERT_EQ(shared.size(), 3u);
  EXPECT_EQ(shared[1].run, (AddressRun{address(3), 1}));
  EXPECT_EQ(shared[1].owner, 1u);
  EXPECT_EQ(shared[2].owner, 0u);
}

TEST_P(SharedPagesTest, looks_at_pages_of_earlier_tasks_when_a_later_one_uses_their_addresses) {
  TargetProcess one, two, three;
  EXPECT_TRUE(add(one, {{address(0), 8}}).empty());
  EXPECT_TRUE(add(two, {{address(8), 8}}).empty());
  std::vector<SharedRun> shared = add(three, {{address(4), 8}});
  ASSERT_EQ(shared.size(), 2u);
  EXPECT_EQ(shared[0].run, (AddressRun{address(4), 4}));
  EXPECT_EQ(shared[0].owner, 0u);
  EXPECT_EQ(shared[1].run, (AddressRun{address(8), 4}));
  EXPECT_EQ(shared[1].owner, 1u);
}

TEST_P(SharedPagesTest, says_that_nothing_moved_while_nothing_did) {
  TargetProcess one, two;
  add(one, all());
  add(two, all());
  Result<RunSet> moved = shared_.moved(0, all());
  ASSERT_TRUE(moved.ok());
  EXPECT_TRUE(moved.value().empty());
}

INSTANTIATE_TEST_SUITE_P(by, SharedPagesTest,
                         ::testing::Values(PageKey::kFrame, PageKey::kContent));

}  // namespace
}  // namespace ncr
