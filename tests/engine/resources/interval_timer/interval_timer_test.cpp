#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/engine/resources/beside.h"

namespace ncr::test {
namespace {

volatile sig_atomic_t alarms = 0;

CR_TEST(interval_timer, goes_on_with_the_time_that_was_left) {
  signal(SIGALRM, [](int) { alarms = alarms + 1; });
  const itimerval soon{{0, 50'000}, {0, 300'000}};
  const itimerval profiling{{70, 5}, {100, 0}};
  ASSERT_EQ(setitimer(ITIMER_REAL, &soon, nullptr), 0);
  ASSERT_EQ(setitimer(ITIMER_PROF, &profiling, nullptr), 0);
  checkpoint_restore();
  const int seen = alarms;
  for (int i = 0; i < 10'000 && alarms < seen + 3; i++) usleep(1000);
  EXPECT_GE(alarms, seen + 3);
  itimerval left{};
  ASSERT_EQ(getitimer(ITIMER_PROF, &left), 0);
  EXPECT_EQ(left.it_interval.tv_sec, 70);
  EXPECT_EQ(left.it_interval.tv_usec, 5);
  EXPECT_GE(left.it_value.tv_sec, 90);
  ASSERT_EQ(getitimer(ITIMER_VIRTUAL, &left), 0);
  EXPECT_EQ(left.it_value.tv_sec, 0);
}

}  // namespace
}  // namespace ncr::test
