#include "engine/resources/prctl_flags/prctl_flags.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>

#include <csignal>
#include <cstring>
#include <thread>

#include "engine/resources/prctl_flags/prctl_flags.parasite.cpp"
#include "engine/resources/prctl_flags/prctl_flags.restorer.cpp"
#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/in_child.h"

namespace ncr::prctl_flags {
namespace {

TEST(prctl_flags, what_was_read_can_be_set_in_another_process) {
  EXPECT_EQ(
      testing::in_child([] {
        Set again{};
        Get::Reply reply;
        if (::prctl(PR_SET_TIMERSLACK, 123456) != 0 || ::prctl(PR_SET_NAME, "name with \n") != 0)
          return 1;
        if (!handle({}, reply).ok()) return 2;
        again.flags = reply.flags;
        if (::prctl(PR_SET_TIMERSLACK, 50000) != 0 || ::prctl(PR_SET_NAME, "other") != 0) return 3;
        if (!run(again).ok() || !run(SetParentDeathSignal{SIGUSR2}).ok()) return 4;
        if (!handle({}, reply).ok() || reply.flags.timer_slack_ns != 123456 ||
            reply.flags.parent_death_signal != SIGUSR2)
          return 5;
        return strcmp(reply.flags.comm, "name with \n") == 0 ? 0 : 6;
      }),
      0);
}

}  // namespace
}  // namespace ncr::prctl_flags

namespace ncr::test {
namespace {

CR_TEST(prctl_flags, every_thread_keeps_name_and_timer_slack) {
  static std::atomic<int> ready;
  static std::atomic<int> go;
  static char name[17] = "";
  static long slack = 0;
  std::thread thread([] {
    ::prctl(PR_SET_NAME, "worker-1");
    ::prctl(PR_SET_TIMERSLACK, 77777);
    ready = 1;
    await(go);
    ::prctl(PR_GET_NAME, name);
    slack = ::prctl(PR_GET_TIMERSLACK);
  });
  await(ready);
  ASSERT_EQ(::prctl(PR_SET_NAME, "main \\ thread"), 0);
  ASSERT_EQ(::prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0), 0);
  checkpoint_restore();
  go = 1;
  thread.join();
  EXPECT_STREQ(name, "worker-1");
  EXPECT_EQ(slack, 77777);
  EXPECT_EQ(::prctl(PR_GET_TIMERSLACK), 50000);
  EXPECT_EQ(::prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_EARLY);
  ::prctl(PR_GET_NAME, name);
  EXPECT_STREQ(name, "main \\ thread");
}

CR_TEST(prctl_flags, speculation_stays_restricted) {
  const int before = ::prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0);
  if ((before & PR_SPEC_PRCTL) == 0) return;
  ASSERT_EQ(::prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0), 0);
  checkpoint_restore();
  EXPECT_EQ(::prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0),
            PR_SPEC_PRCTL | PR_SPEC_DISABLE);
}

}  // namespace
}  // namespace ncr::test
