#include "engine/memory/huge_pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr {
namespace {

constexpr uint32_t kShift = 21;
constexpr size_t kHuge = size_t{1} << kShift;
constexpr int kAnonymous = MAP_ANONYMOUS | MAP_HUGETLB | (kShift << 26);
constexpr const char* kNoPool = "no huge pages of 2 MiB are free";

char* map_huge(size_t pages, int flags, int fd = -1) {
  void* at = ::mmap(nullptr, pages * kHuge, PROT_READ | PROT_WRITE, flags, fd, 0);
  return at == MAP_FAILED ? nullptr : static_cast<char*>(at);
}

std::string kernel_page_size_at(const char* address) {
  const std::string smaps = MUST(sys::read_file("/proc/self/smaps"));
  const size_t at = smaps.find(strf("%lx-", reinterpret_cast<unsigned long>(address)));
  const size_t line = smaps.find("KernelPageSize:", at);
  return at == std::string::npos ? "" : smaps.substr(line, smaps.find('\n', line) - line);
}

struct Pipe {
  Fd from;
  Fd to;
};

Pipe make_pipe() {
  int ends[2] = {-1, -1};
  MUST(SYSCALL(::pipe2(ends, O_CLOEXEC), "pipe2"));
  return {Fd(ends[0]), Fd(ends[1])};
}

void await_byte(const Pipe& pipe) {
  char byte = 0;
  while (::read(pipe.from.get(), &byte, 1) < 0) {
  }
}

bool is_asleep(pid_t pid) {
  const std::string stat = MUST(sys::read_file(strf("/proc/%d/stat", pid).c_str()));
  return stat.find(") S ") != std::string::npos;
}

TEST(huge_pages, sizes_are_in_the_flags) {
  EXPECT_EQ(huge_page_flags(MAP_HUGETLB, 0), 0);
  EXPECT_EQ(huge_page_flags(MAP_HUGETLB, 21), MAP_HUGETLB | 21 << 26);
  EXPECT_EQ(in_whole_pages(1, 0), 4096u);
  EXPECT_EQ(in_whole_pages(kHuge + 1, kShift), 2 * kHuge);
}

TEST(huge_pages, files_tell_the_size_of_their_pages) {
  Fd plain(::memfd_create("plain", MFD_CLOEXEC));
  Result<uint32_t> none = huge_page_shift_of(plain);
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none.value(), 0u);
  Fd huge(::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | (kShift << 26)));
  if (!huge.valid()) GTEST_SKIP() << kNoPool;
  Result<uint32_t> shift = huge_page_shift_of(huge);
  ASSERT_TRUE(shift.ok());
  EXPECT_EQ(shift.value(), kShift);
}

TEST(huge_pages, of_a_size_that_no_machine_has_are_refused) {
  Image image;
  schema::Vma* vma = image.tasks.emplace_back().mutable_memory()->add_vmas();
  EXPECT_TRUE(check_huge_pages(image).ok());
  vma->set_huge_page_shift(39);
  Result<> refused = check_huge_pages(image);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(refused.error().text().find("536870912 KiB"), std::string::npos);
}

CR_TEST(huge_pages, private_ones_keep_their_bytes_and_size) {
  char* at = map_huge(2, MAP_PRIVATE | kAnonymous);
  if (at == nullptr) GTEST_SKIP() << kNoPool;
  std::strcpy(at + kHuge + 5000, "bytes");
  checkpoint_restore();
  EXPECT_STREQ(at + kHuge + 5000, "bytes");
  EXPECT_EQ(at[0], 0);
  at[1] = 'x';
  EXPECT_EQ(kernel_page_size_at(at), "KernelPageSize:     2048 kB");
}

CR_TEST(huge_pages, written_to_by_a_child_are_its_own) {
  char* at = map_huge(1, MAP_PRIVATE | kAnonymous);
  if (at == nullptr) GTEST_SKIP() << kNoPool;
  std::strcpy(at, "parent");
  std::strcpy(at + 8192, "parent");
  const Pipe go = make_pipe();
  const pid_t child = test::fork_child([&] {
    std::strcpy(at, "child");
    std::memset(at + 8192, 0, 4096);
    await_byte(go);
    ::_exit(std::strcmp(at, "child") == 0 && at[8192] == 0 ? 0 : 1);
  });
  while (!is_asleep(child)) ::usleep(1000);
  checkpoint_restore();
  EXPECT_STREQ(at, "parent");
  EXPECT_STREQ(at + 8192, "parent");
  EXPECT_EQ(::write(go.to.get(), "!", 1), 1);
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

CR_TEST(huge_pages, shared_ones_stay_one_object) {
  char* at = map_huge(1, MAP_SHARED | kAnonymous);
  if (at == nullptr) GTEST_SKIP() << kNoPool;
  std::strcpy(at + 100, "before");
  const Pipe go = make_pipe();
  const pid_t child = test::fork_child([&] {
    await_byte(go);
    std::strcpy(at + 100, "after");
  });
  checkpoint_restore();
  EXPECT_STREQ(at + 100, "before");
  EXPECT_EQ(::write(go.to.get(), "!", 1), 1);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_STREQ(at + 100, "after");
  EXPECT_EQ(kernel_page_size_at(at), "KernelPageSize:     2048 kB");
}

CR_TEST(huge_pages, of_a_memfd_keep_size_and_bytes) {
  Fd fd(::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | (kShift << 26)));
  if (!fd.valid() || ::ftruncate(fd.get(), kHuge) != 0) GTEST_SKIP() << kNoPool;
  char* at = map_huge(1, MAP_SHARED, fd.get());
  if (at == nullptr) GTEST_SKIP() << kNoPool;
  std::strcpy(at + 4096, "bytes");
  char* copy = map_huge(1, MAP_PRIVATE, fd.get());
  ASSERT_NE(copy, nullptr);
  std::strcpy(copy, "mine");
  checkpoint_restore();
  EXPECT_STREQ(at + 4096, "bytes");
  EXPECT_EQ(at[0], 0);
  EXPECT_STREQ(copy, "mine");
  EXPECT_EQ(MUST(huge_page_shift_of(fd)), kShift);
  at[7] = 'x';
  char byte = 0;
  EXPECT_EQ(::pread(fd.get(), &byte, 1, 7), 1);
  EXPECT_EQ(byte, 'x');
}

CR_TEST(huge_pages, of_a_segment_keep_id_and_bytes) {
  const int id = ::shmget(IPC_PRIVATE, kHuge - 4096, 0600 | SHM_HUGETLB);
  if (id < 0) GTEST_SKIP() << kNoPool;
  auto* at = static_cast<char*>(::shmat(id, nullptr, 0));
  ASSERT_NE(at, reinterpret_cast<char*>(-1));
  std::strcpy(at + 4096, "bytes");
  MUST(SYSCALL(::shmctl(id, IPC_RMID, nullptr), "shmctl"));
  checkpoint_restore();
  EXPECT_STREQ(at + 4096, "bytes");
  shmid_ds status{};
  EXPECT_EQ(::shmctl(id, IPC_STAT, &status), 0);
  EXPECT_EQ(status.shm_nattch, 1u);
  EXPECT_EQ(kernel_page_size_at(at), "KernelPageSize:     2048 kB");
}

}  // namespace
}  // namespace ncr
