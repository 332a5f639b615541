#include "engine/memory/page_fill.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "engine/base/ids.h"
#include "engine/base/sys.h"

namespace ncr {
namespace {

// Page k of the file begins with the number k.
Fd numbered_pages(uint64_t pages) {
  Fd fd(::memfd_create("pages", MFD_CLOEXEC));
  for (uint64_t i = 0; i < pages; i++)
    EXPECT_EQ(::pwrite(fd.get(), &i, sizeof i, static_cast<off_t>(i * kPageSize)), 8);
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(pages * kPageSize)), 0);
  return fd;
}

class Memory {
 public:
  explicit Memory(uint64_t pages)
      : size_(pages * kPageSize),
        at_(static_cast<char*>(
            ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {}
  ~Memory() { ::munmap(at_, size_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  uint64_t address(uint64_t page) const {
    return reinterpret_cast<uint64_t>(at_) + page * kPageSize;
  }
  uint64_t number(uint64_t page) const {
    uint64_t value;
    std::memcpy(&value, at_ + page * kPageSize, sizeof value);
    return value;
  }

 private:
  size_t size_;
  char* at_;
};

TEST(PageFill, a_large_span_is_read_by_several_threads) {
  constexpr uint64_t kPages = 12'000;
  Fd fd = numbered_pages(kPages);
  Memory memory(kPages);
  Result<> filled = fill_pages(fd.get(), {{memory.address(0), kPages * kPageSize, 0, true}}, 3);
  ASSERT_TRUE(filled.ok());
  for (uint64_t i = 0; i < kPages; i++) ASSERT_EQ(memory.number(i), i);
}

TEST(PageFill, scattered_pages_come_to_their_places) {
  constexpr uint64_t kPages = 1000;
  Fd fd = numbered_pages(kPages);
  Memory memory(2 * kPages);
  std::vector<FillSpan> spans;
  for (uint64_t i = 0; i < kPages; i++)
    spans.push_back({memory.address(2 * ((i * 7) % kPages)), kPageSize, i * kPageSize, i % 2 == 0});
  std::reverse(spans.begin(), spans.end());
  ASSERT_TRUE(fill_pages(fd.get(), spans, 1).ok());
  for (uint64_t i = 0; i < kPages; i++) ASSERT_EQ(memory.number(2 * ((i * 7) % kPages)), i);
}

TEST(PageFill, a_page_may_be_wanted_twice) {
  Fd fd = numbered_pages(4);
  Memory memory(2);
  ASSERT_TRUE(fill_pages(fd.get(),
                         {{memory.address(0), kPageSize, 3 * kPageSize, true},
                          {memory.address(1), kPageSize, 3 * kPageSize, true}},
                         1)
                  .ok());
  EXPECT_EQ(memory.number(0), 3u);
  EXPECT_EQ(memory.number(1), 3u);
}

TEST(PageFill, a_file_that_ends_early_is_malformed) {
  Fd fd = numbered_pages(4);
  Memory memory(8);
  Result<> filled = fill_pages(fd.get(), {{memory.address(0), 8 * kPageSize, 0, true}}, 1);
  ASSERT_FALSE(filled.ok());
  EXPECT_EQ(filled.error().code(), ErrorCode::kMalformed);
}

TEST(PageFill, nothing_to_read_is_fine) { EXPECT_TRUE(fill_pages(-1, {}, 0).ok()); }

}  // namespace
}  // namespace ncr
