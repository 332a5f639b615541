#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "engine/base/sys.h"
#include "tests/engine/resources/beside.h"
#include "tests/support/scratch.h"

namespace ncr::test {
namespace {

constexpr int kSetMdwe = 65;
constexpr int kSetMemoryMerge = 67;
constexpr int kGetMemoryMerge = 68;

CR_TEST(process_flags, umask_personality_and_scores_are_kept) {
  umask(037);
  ASSERT_NE(personality(ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT), -1);
  append_to("/proc/self/oom_score_adj", "333");
  append_to("/proc/self/coredump_filter", "0x15");
  checkpoint_restore();
  EXPECT_EQ(umask(037), 037u);
  EXPECT_EQ(personality(0xffffffff), ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT);
  EXPECT_EQ(MUST(sys::read_file("/proc/self/oom_score_adj")), "333\n");
  EXPECT_EQ(MUST(sys::read_file("/proc/self/coredump_filter")), "00000015\n");
}

CR_TEST(process_flags, subreaper_and_flags_of_memory_are_kept) {
  checkpoint_beside(
      [] {
        ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
        ASSERT_EQ(prctl(PR_SET_DUMPABLE, 0), 0);
        ASSERT_EQ(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
        (void)prctl(kSetMemoryMerge, 1, 0, 0, 0);
      },
      [] {
        int subreaper = 0;
        EXPECT_EQ(prctl(PR_GET_CHILD_SUBREAPER, &subreaper), 0);
        EXPECT_EQ(subreaper, 1);
        EXPECT_EQ(prctl(PR_GET_DUMPABLE), 0);
        EXPECT_EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
        EXPECT_NE(prctl(kGetMemoryMerge, 0, 0, 0, 0), 0);
      });
}

// Nothing of ours could run in it.
CR_TEST_WITH(process_flags, a_process_that_forbids_new_code_is_named,
             .refused_with = "executable memory") {
  if (prctl(kSetMdwe, 1, 0, 0, 0) != 0) return;
  checkpoint_restore();
}

CR_TEST(process_flags, nothing_of_the_engine_is_left) {
  checkpoint_restore();
  int value = -1;
  EXPECT_EQ(prctl(PR_GET_CHILD_SUBREAPER, &value), 0);
  EXPECT_EQ(value, 0);
  EXPECT_EQ(prctl(PR_GET_PDEATHSIG, &value), 0);
  EXPECT_EQ(value, 0);
  EXPECT_EQ(prctl(PR_GET_DUMPABLE), 1);
}

}  // namespace
}  // namespace ncr::test
