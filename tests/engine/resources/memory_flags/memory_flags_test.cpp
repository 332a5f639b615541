#include "engine/resources/memory_flags/memory_flags.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>

#include "tests/support/checkpoint_test.h"

namespace ncr::test {
namespace {

CR_TEST(memory_flags, huge_pages_stay_forbidden) {
  ASSERT_EQ(::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
  checkpoint_restore();
  EXPECT_EQ(::prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
  ASSERT_EQ(::prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
  checkpoint_restore();
  EXPECT_EQ(::prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 0);
}

// The parasite itself is code in writable memory, which such a task may not have.
CR_TEST_WITH(memory_flags, a_task_that_denies_executable_memory_is_refused_by_name,
             .refused_with = "executable memory") {
  constexpr int kSetMdwe = 65;
  constexpr unsigned long kRefuseExecGain = 1;
  if (::prctl(kSetMdwe, kRefuseExecGain, 0, 0, 0) != 0) GTEST_SKIP() << "Linux 6.3 can";
  checkpoint_restore();
}

}  // namespace
}  // namespace ncr::test
