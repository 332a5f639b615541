#include "engine/resources/namespaces/namespaces.h"

#include <gtest/gtest.h>
#include <sched.h>

#include "tests/support/checkpoint_test.h"

namespace ncr::namespaces {
namespace {

TEST(namespaces, a_namespace_differs_by_its_number) {
  EXPECT_FALSE(differs("net:[1]", "net:[1]"));
  EXPECT_TRUE(differs("net:[1]", "net:[2]"));
  EXPECT_FALSE(differs("", ""));
  EXPECT_TRUE(differs("pid:[1]", ""));
}

CR_TEST_WITH(namespaces, another_network_is_refused_by_name, .refused_with = "net namespace") {
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  checkpoint_restore();
}

CR_TEST_WITH(namespaces, a_pid_namespace_prepared_for_children_is_refused_by_name,
             .refused_with = "pid_for_children namespace") {
  ASSERT_EQ(::unshare(CLONE_NEWPID), 0);
  checkpoint_restore();
}

}  // namespace
}  // namespace ncr::namespaces
