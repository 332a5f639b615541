#include "engine/resources/mm_layout/mm_layout.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "engine/base/proc.h"
#include "engine/base/sys.h"

#include "engine/resources/mm_layout/mm_layout.parasite.cpp"
#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/in_child.h"

namespace ncr::mm_layout {
namespace {

TEST(mm_layout, tells_break_and_auxiliary_vector) {
  Get::Reply reply;
  ASSERT_TRUE(handle(Get::Request{}, reply).ok());
  EXPECT_EQ(reply.brk, reinterpret_cast<uint64_t>(sbrk(0)));
  if (reply.auxv_size == 0) GTEST_SKIP() << "PR_GET_AUXV needs Linux 6.4";
  EXPECT_EQ(reply.auxv[0], static_cast<uint64_t>(AT_SYSINFO_EHDR));
}

int probed_after(int flags) {
  return testing::in_child([flags] {
    if (flags != 0 && mlockall(flags) != 0) return 100;
    ProbeLockFuture::Reply reply;
    if (!handle(ProbeLockFuture::Request{}, reply).ok()) return 101;
    return static_cast<int>(reply.flags);
  });
}

TEST(mm_layout, tells_how_future_mappings_are_locked) {
  EXPECT_EQ(probed_after(0), 0);
  EXPECT_EQ(probed_after(MCL_FUTURE), MCL_FUTURE);
  EXPECT_EQ(probed_after(MCL_FUTURE | MCL_ONFAULT), MCL_FUTURE | MCL_ONFAULT);
}

}  // namespace
}  // namespace ncr::mm_layout

namespace ncr::test {
namespace {

std::string own_file(const char* path) {
  Result<std::string> text = sys::read_file(path);
  return text.ok() ? text.value() : "";
}

CR_TEST(mm_layout, ends_of_segments_arguments_and_vectors_are_kept) {
  const proc::Stat before = MUST(proc::parse_stat(own_file("/proc/self/stat")));
  const std::string auxv = own_file("/proc/self/auxv");
  const std::string arguments = own_file("/proc/self/cmdline");
  const std::string environment = own_file("/proc/self/environ");
  char exe[256] = "";
  ASSERT_GT(readlink("/proc/self/exe", exe, sizeof exe - 1), 0);
  checkpoint_restore();
  const proc::Stat after = MUST(proc::parse_stat(own_file("/proc/self/stat")));
  EXPECT_EQ(after.start_code, before.start_code);
  EXPECT_EQ(after.end_code, before.end_code);
  EXPECT_EQ(after.start_data, before.start_data);
  EXPECT_EQ(after.end_data, before.end_data);
  EXPECT_EQ(after.start_brk, before.start_brk);
  EXPECT_EQ(after.start_stack, before.start_stack);
  EXPECT_EQ(after.arg_start, before.arg_start);
  EXPECT_EQ(after.arg_end, before.arg_end);
  EXPECT_EQ(after.env_start, before.env_start);
  EXPECT_EQ(after.env_end, before.env_end);
  EXPECT_EQ(own_file("/proc/self/auxv"), auxv);
  EXPECT_EQ(own_file("/proc/self/cmdline"), arguments);
  EXPECT_EQ(own_file("/proc/self/environ"), environment);
  char exe_after[256] = "";
  ASSERT_GT(readlink("/proc/self/exe", exe_after, sizeof exe_after - 1), 0);
  EXPECT_STREQ(exe_after, exe);
}

CR_TEST(mm_layout, the_heap_goes_on_growing_where_it_ended) {
  char* end = static_cast<char*>(sbrk(0));
  ASSERT_NE(sbrk(10'000), reinterpret_cast<void*>(-1));
  memset(end, 'h', 10'000);
  checkpoint_restore();
  EXPECT_EQ(sbrk(0), end + 10'000);
  ASSERT_EQ(sbrk(100'000), end + 10'000);
  memset(end + 10'000, 'g', 100'000);
  EXPECT_EQ(end[9'999], 'h');
}

CR_TEST(mm_layout, future_mappings_are_locked_as_before) {
  ASSERT_EQ(mlockall(MCL_FUTURE), 0);
  void* locked = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(locked, MAP_FAILED);
  checkpoint_restore();
  mm_layout::ProbeLockFuture::Reply reply;
  ASSERT_TRUE(mm_layout::handle(mm_layout::ProbeLockFuture::Request{}, reply).ok());
  EXPECT_EQ(reply.flags, static_cast<uint64_t>(MCL_FUTURE));
}

}  // namespace
}  // namespace ncr::test
