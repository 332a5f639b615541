// Memory as a program sees it, before and after: every kind of mapping, what can be set on one, and
// what families share.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "engine/base/ids.h"
#include "engine/base/sys.h"
#include "tests/support/checkpoint_test.h"

namespace ncr::test {
namespace {

char* map(size_t pages, int prot, int flags, int fd = -1, long offset = 0) {
  void* at = ::mmap(nullptr, pages * kPageSize, prot, flags, fd, offset);
  EXPECT_NE(at, MAP_FAILED);
  return static_cast<char*>(at);
}

char* anonymous(size_t pages, int prot = PROT_READ | PROT_WRITE) {
  return map(pages, prot, MAP_PRIVATE | MAP_ANONYMOUS);
}

std::string smaps_of(const void* address) {
  std::string all = MUST(sys::read_file("/proc/self/smaps"));
  const size_t from = all.find(strf("%lx-", reinterpret_cast<unsigned long>(address)));
  if (from == std::string::npos) return "";
  const size_t flags = all.find("VmFlags", from);
  return all.substr(from, all.find('\n', flags) - from);
}

bool has_flag(const void* address, const std::string& flag) {
  std::string smaps = smaps_of(address);
  const size_t flags = smaps.find("VmFlags");
  return flags != std::string::npos &&
         (smaps + " ").find(" " + flag + " ", flags) != std::string::npos;
}

std::string line_of(const void* address) {
  std::string smaps = smaps_of(address);
  return smaps.substr(0, smaps.find('\n'));
}

bool can_read(const char* address) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const bool readable = ::write(ends[1], address, 1) == 1;
  ::close(ends[0]);
  ::close(ends[1]);
  return readable;
}

// A file of 8 pages of one letter, unlinked when `keep` is false.
Fd letters(char letter) {
  char name[] = "/tmp/ncr_memory_XXXXXX";
  Fd fd(::mkostemp(name, O_CLOEXEC));
  std::string text(8 * kPageSize, letter);
  EXPECT_TRUE(sys::write_all(fd, text.data(), text.size()).ok());
  ::unlink(name);
  return fd;
}

uint64_t frame(const void* address) {
  Fd map = MUST(sys::open("/proc/self/pagemap", O_RDONLY));
  uint64_t entry = 0;
  MUST(sys::pread_exact(map, &entry, sizeof entry,
                        reinterpret_cast<uint64_t>(address) / kPageSize * 8));
  return (entry >> 63) != 0 ? entry & ((1ull << 55) - 1) : 0;
}

CR_TEST(memory, every_page_is_where_it_was_and_holes_stay_holes) {
  constexpr size_t kPages = 3000;
  char* memory = anonymous(kPages);
  for (size_t i = 0; i < kPages; i += 3) memory[i * kPageSize] = static_cast<char>(1 + i % 100);
  checkpoint_restore();
  for (size_t i = 0; i < kPages; i++) {
    if (i % 3 != 0) {
      ASSERT_EQ(frame(memory + i * kPageSize), 0u) << i;
    }
    ASSERT_EQ(memory[i * kPageSize], i % 3 == 0 ? static_cast<char>(1 + i % 100) : 0) << i;
  }
}

CR_TEST(memory, protections_are_kept_page_by_page) {
  char* memory = anonymous(4);
  std::memset(memory, 'x', 4 * kPageSize);
  ASSERT_EQ(::mprotect(memory, kPageSize, PROT_NONE), 0);
  ASSERT_EQ(::mprotect(memory + kPageSize, kPageSize, PROT_READ), 0);
  ASSERT_EQ(::mprotect(memory + 3 * kPageSize, kPageSize, PROT_READ | PROT_EXEC), 0);
  checkpoint_restore();
  EXPECT_NE(line_of(memory).find(" ---p "), std::string::npos);
  EXPECT_NE(line_of(memory + kPageSize).find(" r--p "), std::string::npos);
  EXPECT_NE(line_of(memory + 2 * kPageSize).find(" rw-p "), std::string::npos);
  EXPECT_NE(line_of(memory + 3 * kPageSize).find(" r-xp "), std::string::npos);
  ASSERT_EQ(::mprotect(memory, kPageSize, PROT_READ), 0);
  EXPECT_EQ(memory[0], 'x');
  EXPECT_EQ(memory[3 * kPageSize], 'x');
}

CR_TEST(memory, a_reservation_of_a_tebibyte_costs_nothing) {
  char* memory = map(1ul << 28, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  ASSERT_EQ(::mprotect(memory + (1ul << 39), kPageSize, PROT_READ | PROT_WRITE), 0);
  memory[1ul << 39] = 'r';
  checkpoint_restore();
  EXPECT_EQ(memory[1ul << 39], 'r');
  EXPECT_TRUE(has_flag(memory, "nr"));
}

CR_TEST(memory, the_heap_goes_on_growing) {
  char* top = static_cast<char*>(::sbrk(0));
  ASSERT_NE(::sbrk(64 << 10), reinterpret_cast<void*>(-1));
  std::memset(top, 'h', 64 << 10);
  checkpoint_restore();
  EXPECT_EQ(::sbrk(0), top + (64 << 10));
  EXPECT_EQ(top[(64 << 10) - 1], 'h');
  ASSERT_NE(::sbrk(64 << 10), reinterpret_cast<void*>(-1));
  top[(128 << 10) - 1] = 'h';
  EXPECT_NE(MUST(sys::read_file("/proc/self/maps")).find("[heap]"), std::string::npos);
}

[[gnu::noinline]] int deep(int depth) {
  volatile char frame_of_ours[4096];
  frame_of_ours[0] = 1;
  return depth == 0 ? frame_of_ours[0] : deep(depth - 1) + frame_of_ours[0];
}

CR_TEST(memory, the_stack_goes_on_growing) {
  checkpoint_restore();
  EXPECT_EQ(deep(500), 501);
  EXPECT_NE(MUST(sys::read_file("/proc/self/maps")).find("[stack]"), std::string::npos);
}

CR_TEST(memory, a_private_file_mapping_keeps_its_own_pages_over_the_file) {
  Fd fd = letters('f');
  char* memory = map(8, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd.get());
  memory[2 * kPageSize] = 'm';
  std::memset(memory + 3 * kPageSize, 0, kPageSize);
  ASSERT_EQ(::mprotect(memory, 8 * kPageSize, PROT_READ), 0);
  checkpoint_restore();
  EXPECT_EQ(memory[0], 'f');
  EXPECT_EQ(memory[2 * kPageSize], 'm');
  EXPECT_EQ(memory[2 * kPageSize + 1], 'f');
  EXPECT_EQ(memory[3 * kPageSize], 0);
  char in_file = 0;
  MUST(sys::pread_exact(fd, &in_file, 1, 2 * kPageSize));
  EXPECT_EQ(in_file, 'f');
}

CR_TEST(memory, a_shared_file_mapping_writes_to_the_file) {
  Fd fd = letters('f');
  char* memory = map(2, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 4 * kPageSize);
  memory[0] = '1';
  checkpoint_restore();
  EXPECT_EQ(memory[0], '1');
  memory[1] = '2';
  char in_file[2];
  MUST(sys::pread_exact(fd, in_file, 2, 4 * kPageSize));
  EXPECT_EQ(in_file[0], '1');
  EXPECT_EQ(in_file[1], '2');
}

CR_TEST(memory, advice_and_names_are_kept) {
  char* dump = anonymous(4);
  char* fork = anonymous(5);
  char* huge = anonymous(6);
  dump[0] = fork[0] = huge[0] = 'a';
  ASSERT_EQ(::madvise(dump, 4 * kPageSize, MADV_DONTDUMP), 0);
  ASSERT_EQ(::madvise(fork, 5 * kPageSize, MADV_DONTFORK), 0);
  ASSERT_EQ(::madvise(huge, 6 * kPageSize, MADV_HUGEPAGE), 0);
  const bool named = ::prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, dump, 4 * kPageSize, "arena") == 0;
  checkpoint_restore();
  EXPECT_TRUE(has_flag(dump, "dd"));
  EXPECT_TRUE(has_flag(fork, "dc"));
  EXPECT_TRUE(has_flag(huge, "hg"));
  EXPECT_EQ(dump[0] + fork[0] + huge[0], 3 * 'a');
  EXPECT_EQ(line_of(dump).find("[anon:arena]") != std::string::npos, named) << line_of(dump);
}

CR_TEST(memory, locks_are_kept) {
  char* memory = anonymous(4);
  char* later = anonymous(4);
  ASSERT_EQ(::mlock(memory, 4 * kPageSize), 0);
  ASSERT_EQ(::mlock2(later, 4 * kPageSize, MLOCK_ONFAULT), 0);
  checkpoint_restore();
  EXPECT_TRUE(has_flag(memory, "lo"));
  EXPECT_NE(frame(memory), 0u);
  EXPECT_TRUE(has_flag(later, "lo"));
  EXPECT_EQ(frame(later), 0u);
}

CR_TEST(memory, guard_regions_still_guard) {
  constexpr int kGuardInstall = 102;
  char* memory = anonymous(8);
  std::memset(memory, 'g', 8 * kPageSize);
  if (::madvise(memory + 2 * kPageSize, 2 * kPageSize, kGuardInstall) != 0)
    GTEST_SKIP() << "this kernel has no guard regions";
  checkpoint_restore();
  EXPECT_TRUE(can_read(memory + kPageSize));
  EXPECT_FALSE(can_read(memory + 2 * kPageSize));
  EXPECT_FALSE(can_read(memory + 3 * kPageSize));
  EXPECT_EQ(memory[4 * kPageSize], 'g');
}

std::string own_executable() {
  Fd self = MUST(sys::open("/proc/self", O_PATH));
  return MUST(sys::read_link_at(self, "exe"));
}

CR_TEST(memory, the_executable_and_the_arguments_are_its_own) {
  std::string exe = own_executable();
  std::string cmdline = MUST(sys::read_file("/proc/self/cmdline"));
  std::string environ = MUST(sys::read_file("/proc/self/environ"));
  std::string auxv = MUST(sys::read_file("/proc/self/auxv"));
  checkpoint_restore();
  EXPECT_EQ(own_executable(), exe);
  EXPECT_EQ(MUST(sys::read_file("/proc/self/cmdline")), cmdline);
  EXPECT_EQ(MUST(sys::read_file("/proc/self/environ")), environ);
  EXPECT_EQ(MUST(sys::read_file("/proc/self/auxv")), auxv);
}

CR_TEST(memory, nothing_of_the_engine_stays_mapped) {
  std::string before = MUST(sys::read_file("/proc/self/maps"));
  checkpoint_restore();
  EXPECT_EQ(MUST(sys::read_file("/proc/self/maps")), before);
}

// Runs body in a forked child that waits for `go`, as part of the checkpointed tree.
struct Child {
  int go[2];
  pid_t pid;
  template <class F>
  explicit Child(F body) {
    EXPECT_EQ(::pipe(go), 0);
    pid = ::fork();
    if (pid != 0) return;
    char byte;
    EXPECT_EQ(::read(go[0], &byte, 1), 1);
    body();
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  void finish() {
    EXPECT_EQ(::write(go[1], "g", 1), 1);
    int status = -1;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
  }
};

CR_TEST(memory, pages_shared_by_fork_stay_shared) {
  constexpr size_t kPages = 64;
  char* memory = anonymous(kPages);
  auto* frames = reinterpret_cast<volatile uint64_t*>(
      map(1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS));
  std::memset(memory, 'p', kPages * kPageSize);
  Child child([&] {
    for (size_t i = 0; i < kPages; i++) EXPECT_EQ(frame(memory + i * kPageSize), frames[i]) << i;
    EXPECT_EQ(memory[5 * kPageSize], 'p');
  });
  checkpoint_restore();
  for (size_t i = 0; i < kPages; i++) frames[i] = frame(memory + i * kPageSize);
  child.finish();
}

CR_TEST(memory, a_child_that_changed_its_memory_has_its_own) {
  char* memory = anonymous(8);
  char* gone = anonymous(8);
  std::memset(memory, 'p', 8 * kPageSize);
  std::memset(gone, 'p', 8 * kPageSize);
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  int go[2];
  ASSERT_EQ(::pipe(go), 0);
  pid_t pid = ::fork();
  if (pid == 0) {
    memory[0] = 'c';
    ::madvise(memory + kPageSize, kPageSize, MADV_DONTNEED);
    ::munmap(gone, 8 * kPageSize);
    char* own = anonymous(16);
    own[0] = 'o';
    EXPECT_EQ(::write(ready[1], "r", 1), 1);
    char byte;
    EXPECT_EQ(::read(go[0], &byte, 1), 1);
    EXPECT_EQ(memory[0], 'c');
    EXPECT_EQ(memory[kPageSize], 0);
    EXPECT_EQ(memory[2 * kPageSize], 'p');
    EXPECT_EQ(own[0], 'o');
    EXPECT_NE(smaps_of(own), "");
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  memory[3 * kPageSize] = 'P';
  checkpoint_restore();
  EXPECT_EQ(memory[0], 'p');
  EXPECT_EQ(memory[kPageSize], 'p');
  EXPECT_EQ(memory[3 * kPageSize], 'P');
  EXPECT_EQ(gone[0], 'p');
  EXPECT_EQ(::write(go[1], "g", 1), 1);
  int status = -1;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

CR_TEST(memory, shared_anonymous_memory_stays_shared_with_a_child) {
  char* memory = map(4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  memory[kPageSize] = 'b';
  Child child([&] {
    EXPECT_EQ(memory[kPageSize], 'b');
    EXPECT_EQ(memory[0], 'a') << "written by the parent after the restore";
    memory[1] = 'c';
  });
  std::string line = line_of(memory);
  checkpoint_restore();
  EXPECT_NE(line_of(memory).find("/dev/zero (deleted)"), std::string::npos) << line_of(memory);
  memory[0] = 'a';
  child.finish();
  EXPECT_EQ(memory[1], 'c');
}

}  // namespace
}  // namespace ncr::test
