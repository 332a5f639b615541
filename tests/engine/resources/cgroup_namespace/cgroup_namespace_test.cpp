#include <sched.h>

#include "tests/engine/resources/cgroup/test_cgroups.h"
#include "tests/support/checkpoint_test.h"

namespace ncr {
namespace {

using testing::TestCgroups;

std::string own_path(const std::string& controllers) {
  const std::string text = test::file_text("/proc/self/cgroup");
  Result<std::vector<cgroup::Membership>> all = cgroup::parse_memberships(text);
  if (!all.ok()) return "";
  for (const cgroup::Membership& one : all.value())
    if (one.controllers == controllers) return one.path;
  return "";
}

CR_TEST(cgroup_namespace, shows_the_root_that_it_was_made_in) {
  TestCgroups pids("pids");
  TestCgroups unified("");
  if (!pids.usable() || !unified.usable()) GTEST_SKIP() << "no cgroups can be made";
  ASSERT_TRUE(pids.put("cgroup.procs", "0"));
  ASSERT_TRUE(unified.put("cgroup.procs", "0"));
  ASSERT_EQ(::unshare(CLONE_NEWCGROUP), 0);
  ASSERT_TRUE(pids.make("/leaf"));
  ASSERT_TRUE(pids.put("leaf/cgroup.procs", "0"));
  ASSERT_EQ(own_path("pids"), "/leaf");
  checkpoint_restore();
  EXPECT_EQ(own_path("pids"), "/leaf");
  EXPECT_EQ(own_path(""), "/");
  EXPECT_TRUE(unified.holds(::getpid()));
}

}  // namespace
}  // namespace ncr
