#include "engine/base/quiet_thread.h"

#include <gtest/gtest.h>

#include <sched.h>

#include <atomic>
#include <mutex>

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

// Threads that inherited the narrow set would crowd on it.
TEST(QuietThread, one_that_was_kept_off_a_cpu_may_move_again_once_it_is_awake) {
  cpu_set_t ours;
  ASSERT_EQ(::sched_getaffinity(0, sizeof ours, &ours), 0);
  if (CPU_COUNT(&ours) < 2) GTEST_SKIP() << "there is one CPU";
  std::mutex mutex;
  mutex.lock();
  cpu_set_t kept_off, moving;
  {
    QuietThread thread([&] {
      std::lock_guard lock(mutex);
      (void)::sched_getaffinity(0, sizeof kept_off, &kept_off);
      QuietThread::move_freely();
      (void)::sched_getaffinity(0, sizeof moving, &moving);
    });
    thread.keep_off_this_cpu();
    mutex.unlock();
  }
  EXPECT_EQ(CPU_COUNT(&kept_off), CPU_COUNT(&ours) - 1);
  EXPECT_TRUE(CPU_EQUAL(&moving, &ours));
}

}  // namespace
}  // namespace ncr
