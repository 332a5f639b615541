#include "engine/resources/prctl_flags/prctl_flags.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>

#include <csignal>
#include <cstring>

#include "engine/resources/prctl_flags/prctl_flags.parasite.cpp"
#include "engine/resources/prctl_flags/prctl_flags.restorer.cpp"
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
