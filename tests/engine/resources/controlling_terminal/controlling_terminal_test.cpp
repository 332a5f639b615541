// Whether a session has a terminal is its own matter, also when a terminal is open. (Sessions that have one: tty_test.cpp.)
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/proc.h"
#include "engine/base/sys.h"
#include "tests/support/checkpoint_test.h"

namespace ncr::controlling_terminal {
namespace {

int terminal_of_this_session() {
  std::string text = MUST(sys::read_file("/proc/self/stat"));
  return MUST(proc::parse_stat(text)).tty;
}

CR_TEST(controlling_terminal, a_session_without_one_gets_none_from_what_it_has_open) {
  Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(master.valid());
  ASSERT_EQ(::unlockpt(master.get()), 0);
  Fd slave(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(slave.valid());
  ASSERT_EQ(terminal_of_this_session(), 0);
  checkpoint_restore();
  EXPECT_EQ(terminal_of_this_session(), 0);
  EXPECT_FALSE(Fd(::open("/dev/tty", O_RDWR | O_CLOEXEC)).valid());
}

}  // namespace
}  // namespace ncr::controlling_terminal
