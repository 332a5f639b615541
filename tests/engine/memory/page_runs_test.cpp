#include "engine/memory/page_runs.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "engine/memory/page_table.h"
#include "tests/engine/memory/target_process.h"

namespace ncr {
namespace {

constexpr uint64_t kPages = 64;
constexpr int kMadvGuardInstall = 102;

class PageRuns : public ::testing::TestWithParam<PageScan> {
 protected:
  void SetUp() override {
    at_ = static_cast<char*>(::mmap(nullptr, kPages * kPageSize, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(at_, MAP_FAILED);
    ::madvise(at_, kPages * kPageSize, MADV_NOHUGEPAGE);
  }
  void TearDown() override { ::munmap(at_, kPages * kPageSize); }

  uint64_t address(uint64_t page) const {
    return reinterpret_cast<uint64_t>(at_) + page * kPageSize;
  }
  char* at(uint64_t page) const { return at_ + page * kPageSize; }
  schema::Memory memory(const TargetProcess& target) const {
    return target.memory(address(0), address(kPages));
  }
  RunSet find(const TargetProcess& target, const schema::Memory& memory) {
    Result<Fd> pagemap = open_pagemap(target.pid());
    EXPECT_TRUE(pagemap.ok());
    Result<PrivatePages> found = find_private_pages(pagemap.value(), memory, GetParam());
    EXPECT_TRUE(found.ok()) << found.error().text();
    if (!found.ok()) return {};
    guards_ = found.value().guards;
    return found.value().pages;
  }

  RunSet guards_;

 private:
  char* at_ = nullptr;
};

TEST_P(PageRuns, are_the_pages_that_were_written) {
  TargetProcess target([&] {
    for (uint64_t page : {0, 1, 7, 63}) std::memset(at(page), 1, kPageSize);
  });
  EXPECT_EQ(find(target, memory(target)),
            (RunSet{{address(0), 2}, {address(7), 1}, {address(63), 1}}));
}

TEST_P(PageRuns, reach_across_vmas_and_leave_out_shared_ones) {
  TargetProcess target([&] {
    for (uint64_t page = 0; page < kPages; page++) std::memset(at(page), 1, kPageSize);
    ::mprotect(at(8), 4 * kPageSize, PROT_READ);
    void* shared = ::mmap(at(20), 4 * kPageSize, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    std::memset(shared, 1, 4 * kPageSize);
    ::munmap(at(40), kPageSize);
  });
  EXPECT_EQ(find(target, memory(target)),
            (RunSet{{address(0), 20}, {address(24), 16}, {address(41), 23}}));
}

TEST_P(PageRuns, leave_out_droppable_memory) {
  TargetProcess target([&] { std::memset(at(0), 1, 3 * kPageSize); });
  schema::Memory all = memory(target);
  for (schema::Vma& vma : *all.mutable_vmas()) vma.set_droppable(true);
  EXPECT_EQ(find(target, all), RunSet());
}

TEST_P(PageRuns, leave_out_guard_pages) {
  if (::madvise(at(0), kPageSize, kMadvGuardInstall) != 0) GTEST_SKIP() << "no guard regions";
  TargetProcess target([&] {
    std::memset(at(4), 1, 8 * kPageSize);
    ::madvise(at(6), 2 * kPageSize, kMadvGuardInstall);
  });
  schema::Memory found = memory(target);
  EXPECT_EQ(find(target, found), (RunSet{{address(4), 2}, {address(8), 4}}));
  note_guards(guards_, &found);
  ASSERT_EQ(found.vmas_size(), 1);
  ASSERT_EQ(found.vmas(0).guards_size(), 2);
  EXPECT_EQ(found.vmas(0).guards(0).start(), address(0));
  EXPECT_EQ(found.vmas(0).guards(0).end(), address(1));
  EXPECT_EQ(found.vmas(0).guards(1).start(), address(6));
  EXPECT_EQ(found.vmas(0).guards(1).end(), address(8));
}

TEST_P(PageRuns, of_a_whole_process_agree_between_both_ways) {
  TargetProcess target;
  schema::Memory whole = target.memory();
  Result<Fd> pagemap = open_pagemap(target.pid());
  Result<PrivatePages> scanned = find_private_pages(pagemap.value(), whole, PageScan::kBest);
  Result<PrivatePages> read = find_private_pages(pagemap.value(), whole, PageScan::kRead);
  ASSERT_TRUE(scanned.ok()) << scanned.error().text();
  ASSERT_TRUE(read.ok()) << read.error().text();
  EXPECT_GT(count_pages(scanned.value().pages), 10u);
  EXPECT_TRUE(difference(scanned.value().pages, read.value().pages).empty());
}

INSTANTIATE_TEST_SUITE_P(by, PageRuns, ::testing::Values(PageScan::kBest, PageScan::kRead));

}  // namespace
}  // namespace ncr
