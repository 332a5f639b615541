#include "engine/resources/scheduling/scheduling.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <thread>

#include "engine/resources/scheduling/scheduling.restorer.cpp"
#include "tests/engine/resources/beside.h"
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

namespace ncr::test {
namespace {

CR_TEST(scheduling, nice_policy_affinity_and_io_priority_per_thread) {
  constexpr int kIdleClass = 3 << 13;
  static std::atomic<int> ready;
  static std::atomic<int> go;
  static int policy = -1;
  static int nice_here = 0;
  static int priority = 0;
  std::thread thread([] {
    sched_param param{};
    param.sched_priority = 3;
    sched_setscheduler(0, SCHED_FIFO, &param);
    ready = 1;
    await(go);
    policy = sched_getscheduler(0);
    sched_getparam(0, &param);
    priority = param.sched_priority;
  });
  await(ready);
  ASSERT_EQ(setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 7), 0);
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(0, &cpus);
  ASSERT_EQ(sched_setaffinity(0, sizeof cpus, &cpus), 0);
  ASSERT_EQ(syscall(SYS_ioprio_set, 1, 0, kIdleClass), 0);
  checkpoint_restore();
  go = 1;
  thread.join();
  nice_here = getpriority(PRIO_PROCESS, static_cast<id_t>(gettid()));
  EXPECT_EQ(nice_here, 7);
  EXPECT_EQ(policy, SCHED_FIFO);
  EXPECT_EQ(priority, 3);
  ASSERT_EQ(sched_getaffinity(0, sizeof cpus, &cpus), 0);
  EXPECT_EQ(CPU_COUNT(&cpus), 1);
  EXPECT_EQ(syscall(SYS_ioprio_get, 1, 0), kIdleClass);
}

}  // namespace
}  // namespace ncr::test
