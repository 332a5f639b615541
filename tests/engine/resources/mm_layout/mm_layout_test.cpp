#include "engine/resources/mm_layout/mm_layout.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/resources/mm_layout/mm_layout.parasite.cpp"
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
