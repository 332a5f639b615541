#include <gtest/gtest.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstring>

#include "tests/support/checkpoint_test.h"

namespace ncr::uts_namespace {
namespace {

CR_TEST(uts_namespace, keeps_its_names) {
  ASSERT_EQ(::unshare(CLONE_NEWUTS), 0);
  ASSERT_EQ(::sethostname("box-7", 5), 0);
  ASSERT_EQ(::setdomainname("inner", 5), 0);
  checkpoint_restore();
  utsname names{};
  ASSERT_EQ(::uname(&names), 0);
  EXPECT_STREQ(names.nodename, "box-7");
  EXPECT_STREQ(names.domainname, "inner");
}

}  // namespace
}  // namespace ncr::uts_namespace
