#include "engine/memory/page_reader.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "engine/memory/page_table.h"
#include "tests/engine/memory/target_process.h"

namespace ncr {
namespace {

std::vector<uint64_t> frames(pid_t pid, const RunSet& pages) {
  std::vector<uint64_t> frames;
  Result<Fd> pagemap = open_pagemap(pid);
  EXPECT_TRUE(pagemap.ok());
  EXPECT_TRUE(read_entries(pagemap.value(), pages, [&](uint64_t, PageEntry entry) {
                frames.push_back(entry.frame());
              }).ok());
  return frames;
}

TEST(page_reader, leaves_pages_shared_by_fork_shared) {
  constexpr uint64_t kPages = 32;
  auto* at = static_cast<char*>(::mmap(nullptr, kPages * kPageSize, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(at, MAP_FAILED);
  std::memset(at, 'a', kPages * kPageSize);
  TargetProcess one([&] { std::memset(at + 5 * kPageSize, 'b', 2 * kPageSize); });
  TargetProcess two;
  RunSet pages{{reinterpret_cast<uint64_t>(at), 10},
               {reinterpret_cast<uint64_t>(at) + 12 * kPageSize, 20}};
  std::vector<uint64_t> before = frames(one.pid(), pages);
  std::string content(30 * kPageSize, 0);
  Result<> read = read_pages(one.pid(), pages, content.data());
  ASSERT_TRUE(read.ok()) << read.error().text();
  EXPECT_EQ(frames(one.pid(), pages), before);
  for (size_t page = 0; page < 30; page++) {
    EXPECT_EQ(content.substr(page * kPageSize, kPageSize),
              std::string(kPageSize, page == 5 || page == 6 ? 'b' : 'a'))
        << page;
  }
  ::munmap(at, kPages * kPageSize);
}

TEST(page_reader, says_that_a_process_is_gone) {
  char page[kPageSize];
  pid_t pid;
  {
    TargetProcess target;
    pid = target.pid();
  }
  Result<> read = read_pages(pid, {{0x1000, 1}}, page);
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code(), ErrorCode::kGone);
}

}  // namespace
}  // namespace ncr
