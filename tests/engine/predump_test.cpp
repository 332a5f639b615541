// Incremental images: what a restore brings back is the memory of the last dump, wherever in the
// chain a page was stored.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "engine/base/ids.h"
#include "engine/image/image_reader.h"
#include "engine/request.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

constexpr size_t kPages = 300;

char* map_pages(size_t pages, int flags = MAP_PRIVATE | MAP_ANONYMOUS) {
  void* at = ::mmap(nullptr, pages * kPageSize, PROT_READ | PROT_WRITE, flags, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<char*>(at);
}

void fill(char* at, size_t first, size_t end, char salt) {
  for (size_t i = first; i < end; i++)
    std::memset(at + i * kPageSize, static_cast<char>(salt + i % 50), kPageSize);
}

// How many pages do not hold what fill() wrote.
size_t wrong(const char* at, size_t first, size_t end, char salt) {
  size_t count = 0;
  for (size_t i = first; i < end; i++) {
    const char* page = at + i * kPageSize;
    const char byte = static_cast<char>(salt + i % 50);
    if (page[0] != byte || std::memcmp(page, page + 1, kPageSize - 1) != 0) count++;
  }
  return count;
}

CR_TEST(predump, pages_come_from_wherever_in_the_chain_they_are) {
  char* at = map_pages(kPages);
  fill(at, 0, kPages, 'A');
  pre_dump();
  fill(at, 100, 200, 'b');
  std::memset(at + 10 * kPageSize, 0, kPageSize);
  pre_dump();
  fill(at, 150, 160, '0');
  fill(at, 10, 11, 'A');                                     // as in the oldest image
  std::memset(at + 20 * kPageSize, 0, kPageSize);            // zero now
  ::madvise(at + 30 * kPageSize, kPageSize, MADV_DONTNEED);  // not there now
  checkpoint_restore();
  EXPECT_EQ(wrong(at, 0, 20, 'A'), 0u);
  EXPECT_EQ(wrong(at, 21, 30, 'A'), 0u);
  EXPECT_EQ(wrong(at, 31, 100, 'A'), 0u);
  EXPECT_EQ(wrong(at, 100, 150, 'b'), 0u);
  EXPECT_EQ(wrong(at, 150, 160, '0'), 0u);
  EXPECT_EQ(wrong(at, 160, 200, 'b'), 0u);
  EXPECT_EQ(wrong(at, 200, kPages, 'A'), 0u);
  EXPECT_EQ(at[20 * kPageSize], 0);
  EXPECT_EQ(at[30 * kPageSize], 0);
  // A chain goes on over a restored tree.
  fill(at, 0, 10, 'z');
  checkpoint_restore();
  EXPECT_EQ(wrong(at, 0, 10, 'z'), 0u);
  EXPECT_EQ(wrong(at, 200, kPages, 'A'), 0u);
}

CR_TEST(predump, another_mapping_at_the_same_address_is_not_mistaken) {
  char* at = map_pages(kPages);
  fill(at, 0, kPages, 'A');
  pre_dump();
  ::munmap(at, kPages * kPageSize);
  void* again = ::mmap(at, kPages / 2 * kPageSize, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  ASSERT_EQ(again, at);
  fill(at, 1, 3, 'c');
  checkpoint_restore();
  EXPECT_EQ(at[0], 0);
  EXPECT_EQ(wrong(at, 1, 3, 'c'), 0u);
  EXPECT_EQ(at[3 * kPageSize], 0);
}

CR_TEST(predump, shared_memory_and_children_are_part_of_it) {
  char* shared = map_pages(kPages, MAP_SHARED | MAP_ANONYMOUS);
  char* inherited = map_pages(kPages);
  fill(shared, 0, kPages, 'A');
  fill(inherited, 0, kPages, 'A');
  volatile char* go = map_pages(1, MAP_SHARED | MAP_ANONYMOUS);
  const pid_t child = ::fork();
  if (child == 0) {
    while (go[0] == 0) ::usleep(1000);
    fill(inherited, 5, 10, 'c');
    fill(shared, 50, 60, 'c');
    go[1] = 1;
    while (go[0] == 1) ::usleep(1000);
    const bool good = wrong(inherited, 0, 5, 'A') + wrong(inherited, 5, 10, 'c') +
                          wrong(inherited, 10, kPages, 'A') ==
                      0;
    ::_exit(good ? 0 : 1);
  }
  pre_dump();
  go[0] = 1;
  while (go[1] == 0) ::usleep(1000);
  pre_dump();
  fill(shared, 60, 70, 'd');
  checkpoint_restore();
  EXPECT_EQ(wrong(shared, 0, 50, 'A'), 0u);
  EXPECT_EQ(wrong(shared, 50, 60, 'c'), 0u);
  EXPECT_EQ(wrong(shared, 60, 70, 'd'), 0u);
  EXPECT_EQ(wrong(shared, 70, kPages, 'A'), 0u);
  EXPECT_EQ(wrong(inherited, 0, kPages, 'A'), 0u);
  go[0] = 2;
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

CR_TEST(predump, a_program_may_write_while_it_is_read) {
  char* at = map_pages(kPages);
  volatile char* stop = map_pages(1, MAP_SHARED | MAP_ANONYMOUS);
  const pid_t child = ::fork();
  if (child == 0) {
    // Every page of a round is the same, or is being made so.
    for (unsigned round = 0; stop[0] == 0; round++) {
      const char salt = static_cast<char>('A' + round % 20);
      fill(at, 0, kPages, salt);
      char* more = map_pages(20);
      fill(more, 0, 20, salt);
      ::munmap(more, 20 * kPageSize);
      if (wrong(at, 0, kPages, salt) != 0) ::_exit(1);
    }
    ::_exit(0);
  }
  for (int i = 0; i < 3; i++) pre_dump();
  checkpoint_restore();
  stop[0] = 1;
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// A process that owns some pages and is dumped as often as a test likes.
class Predump : public testing::Test {
 protected:
  Predump() {
    pages_ = map_pages(kPages, MAP_SHARED | MAP_ANONYMOUS);
    target_ = ::fork();
    if (target_ == 0) {
      ::setsid();
      ::close_range(3, ~0u, 0);
      char* own = map_pages(kPages);
      fill(own, 0, kPages, 'A');
      for (size_t i = 0; i < kPages; i++) std::memcpy(own + i * kPageSize, &i, sizeof i);
      pages_[0] = 1;
      while (pages_[0] == 1) ::usleep(1000);
      fill(own, 0, 7, 'b');
      pages_[0] = 3;
      for (;;) ::pause();
    }
    while (pages_[0] != 1) ::usleep(1000);
  }
  ~Predump() override {
    ::kill(target_, SIGKILL);
    ::waitpid(target_, nullptr, 0);
    ::munmap(pages_, kPages * kPageSize);
  }
  void change_pages() {
    pages_[0] = 2;
    while (pages_[0] != 3) ::usleep(1000);
  }
  DumpRequest request(const char* name, const char* parent = "") {
    DumpRequest request;
    request.pid = target_;
    request.images_dir = scratch_.file(name);
    request.parent_images = parent;
    request.final_state = FinalState::kRun;
    return request;
  }

  test::Scratch scratch_;
  char* pages_ = nullptr;
  pid_t target_ = 0;
};

TEST_F(Predump, stores_only_what_the_parent_has_not) {
  Result<DumpReport> first = predump(request("1"));
  ASSERT_TRUE(first.ok()) << first.error().text();
  EXPECT_GE(first.value().pages_written, kPages);
  change_pages();
  Result<DumpReport> second = predump(request("2", "../1"));
  ASSERT_TRUE(second.ok()) << second.error().text();
  EXPECT_GE(second.value().pages_parent, kPages - 7);
  EXPECT_GE(second.value().pages_written, 7u);
  EXPECT_LT(second.value().pages_written, 100u);
  Result<DumpReport> last = dump(request("3", "../2"));
  ASSERT_TRUE(last.ok()) << last.error().text();
  EXPECT_GE(last.value().pages_parent, kPages);
  EXPECT_LT(last.value().pages_written, 60u);
  EXPECT_EQ(last.value().pages_written * kPageSize,
            static_cast<uint64_t>(test::file_text(scratch_.file("3/pages-1.img")).size()));
  Result<Image> image = Image::open(scratch_.file("3"), PageCheck::kVerify);
  EXPECT_TRUE(image.ok()) << image.error().text();
}

TEST_F(Predump, a_whole_image_without_checksums_of_its_pages_can_be_a_parent) {
  ASSERT_TRUE(dump(request("1")).ok());
  Result<DumpReport> second = dump(request("2", "../1"));
  ASSERT_TRUE(second.ok()) << second.error().text();
  EXPECT_GE(second.value().pages_parent, kPages);
  EXPECT_LT(second.value().pages_written, 60u);
}

TEST_F(Predump, stores_what_children_share_once) {
  pid_t child = 0;
  char* family = map_pages(1, MAP_SHARED | MAP_ANONYMOUS);
  const pid_t root = ::fork();
  if (root == 0) {
    ::setsid();
    ::close_range(3, ~0u, 0);
    char* own = map_pages(kPages);
    for (size_t i = 0; i < kPages; i++)
      std::memcpy(own + i * kPageSize, &i, sizeof i), own[i * kPageSize + 100] = 'x';
    for (int i = 0; i < 4 && (child = ::fork()) != 0; i++) continue;
    __atomic_add_fetch(reinterpret_cast<int*>(family), 1, __ATOMIC_SEQ_CST);
    for (;;) ::pause();
  }
  while (__atomic_load_n(reinterpret_cast<int*>(family), __ATOMIC_SEQ_CST) != 5) ::usleep(1000);
  DumpRequest of_family = request("1");
  of_family.pid = root;
  Result<DumpReport> done = predump(of_family);
  ::kill(-root, SIGKILL);
  ::waitpid(root, nullptr, 0);
  ASSERT_TRUE(done.ok()) << done.error().text();
  EXPECT_EQ(done.value().tasks, 5u);
  EXPECT_GE(done.value().pages_scanned, 5 * kPages);
  EXPECT_GE(done.value().pages_written, kPages);
  EXPECT_LT(done.value().pages_written, done.value().pages_scanned / 3);
}

TEST_F(Predump, is_no_whole_image) {
  ASSERT_TRUE(predump(request("1")).ok());
  RestoreRequest again;
  again.images_dir = scratch_.file("1");
  Result<RestoreReport> restored = restore(again);
  ASSERT_FALSE(restored.ok());
  EXPECT_EQ(restored.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(restored.error().text().find("is a pre-dump, not a whole image"), std::string::npos);
  EXPECT_TRUE(Image::open(scratch_.file("1"), PageCheck::kVerify).ok());
}

TEST_F(Predump, a_parent_that_is_not_there_is_named) {
  Result<DumpReport> dumped = dump(request("1", "../nowhere"));
  ASSERT_FALSE(dumped.ok());
  EXPECT_NE(dumped.error().text().find("parent image ../nowhere"), std::string::npos);
  EXPECT_FALSE(test::file_exists(scratch_.file("1")));
}

}  // namespace
}  // namespace ncr
