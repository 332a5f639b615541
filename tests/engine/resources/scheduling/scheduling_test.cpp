#include "engine/resources/scheduling/scheduling.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include "engine/resources/scheduling/scheduling.restorer.cpp"
#include "tests/engine/resources/in_child.h"

namespace ncr::scheduling {
namespace {

using WithMask = testing::WithTail<Set, uint64_t>;

TEST(scheduling, policy_nice_affinity_and_io_class) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_EQ(testing::in_child([] {
              constexpr int kBestEffort3 = 2 << 13 | 3;
              WithMask list{{{.size = 48,
                              .policy = SCHED_BATCH,
                              .flags = 1,
                              .nice = 5,
                              .priority = 0,
                              .runtime = 0,
                              .deadline = 0,
                              .period = 0},
                             kBestEffort3,
                             8},
                            1};
              if (!run(list.step).ok()) return 1;
              if (sched_getscheduler(0) != (SCHED_BATCH | SCHED_RESET_ON_FORK)) return 2;
              if (getpriority(PRIO_PROCESS, 0) != 5) return 3;
              cpu_set_t cpus;
              if (sched_getaffinity(0, sizeof cpus, &cpus) != 0 || CPU_COUNT(&cpus) != 1 ||
                  !CPU_ISSET(0, &cpus))
                return 4;
              return pie::sys(__NR_ioprio_get, 1, 0).raw() == kBestEffort3 ? 0 : 5;
            }),
            0);
}

TEST(scheduling, real_time_priority) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_EQ(testing::in_child([] {
              WithMask list{{{.size = 48,
                              .policy = SCHED_RR,
                              .flags = 0,
                              .nice = 0,
                              .priority = 9,
                              .runtime = 0,
                              .deadline = 0,
                              .period = 0},
                             0,
                             0},
                            0};
              if (!run(list.step).ok()) return 1;
              sched_param param{};
              return sched_getscheduler(0) == SCHED_RR && sched_getparam(0, &param) == 0 &&
                             param.sched_priority == 9
                         ? 0
                         : 2;
            }),
            0);
}

}  // namespace
}  // namespace ncr::scheduling
