// The harness itself: what the child must find and what it must not.
#include "tests/support/checkpoint_test.h"

#include <dirent.h>
#include <unistd.h>

namespace ncr::test {
namespace {

CR_TEST_WITH(harness, runs_the_body_in_a_session_of_its_own, .cycles = 0) {
  EXPECT_EQ(::getsid(0), ::getpid());
  checkpoint_restore();
  EXPECT_EQ(::getsid(0), ::getpid());
}

CR_TEST_WITH(harness, leaves_no_descriptor_but_stdio, .cycles = 0) {
  checkpoint_restore();
  for (int fd = 3; fd < 64; fd++) EXPECT_EQ(::lseek(fd, 0, SEEK_CUR), -1) << fd;
}

CR_TEST(harness, a_process_goes_on_after_two_cycles) {
  volatile int answer = 42;
  const pid_t pid = ::getpid();
  checkpoint_restore();
  EXPECT_EQ(answer, 42);
  EXPECT_EQ(::getpid(), pid);
}

}  // namespace
}  // namespace ncr::test
