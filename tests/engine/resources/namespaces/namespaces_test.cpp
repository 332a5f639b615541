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

TEST(namespaces, the_number_of_a_namespace_stands_in_its_link) {
  EXPECT_EQ(inode_of("net:[4026531840]"), 4026531840u);
  EXPECT_EQ(inode_of("net"), 0u);
  EXPECT_EQ(inode_of(""), 0u);
}

CR_TEST_WITH(namespaces, a_pid_namespace_prepared_for_children_is_refused_by_name,
             .refused_with = "pid_for_children namespace") {
  ASSERT_EQ(::unshare(CLONE_NEWPID), 0);
  checkpoint_restore();
}

}  // namespace
}  // namespace ncr::namespaces
