#include "engine/base/quiet_thread.h"

#include <gtest/gtest.h>

#include <atomic>

namespace ncr {
namespace {

TEST(QuietThread, an_errand_is_done_once_and_before_finish_returns) {
  for (int i = 0; i < 200; i++) {
    std::atomic<int> runs{0};
    Errand errand;
    errand.begin([&] { runs++; });
    errand.finish();
    EXPECT_EQ(runs, 1);
    errand.finish();
    EXPECT_EQ(runs, 1);
  }
}

TEST(QuietThread, an_errand_without_work_ends) { Errand errand; }

TEST(QuietThread, who_leaves_early_waits_for_work_that_has_begun_and_no_other) {
  for (int i = 0; i < 200; i++) {
    std::atomic<bool> inside{false};
    {
      Errand errand;
      errand.begin([&] {
        inside = true;
        inside = false;
      });
    }
    EXPECT_FALSE(inside);
  }
}

}  // namespace
}  // namespace ncr
