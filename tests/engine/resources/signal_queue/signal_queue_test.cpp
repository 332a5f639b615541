#include "engine/resources/signal_queue/signal_queue.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstring>

#include "engine/resources/signal_queue/signal_queue.restorer.cpp"
#include "tests/engine/resources/in_child.h"

namespace ncr::signal_queue {
namespace {

TEST(signal_queue, keeps_code_and_value_of_a_pending_signal) {
  EXPECT_EQ(testing::in_child([] {
              sigset_t all;
              sigfillset(&all);
              sigprocmask(SIG_SETMASK, &all, nullptr);
              siginfo_t info{};
              info.si_signo = SIGRTMIN + 1;
              info.si_code = SI_TIMER;
              info.si_value.sival_int = 77;
              for (uint32_t to_process = 0; to_process < 2; to_process++) {
                Queue step{static_cast<uint32_t>(info.si_signo), to_process, {}};
                memcpy(step.info, &info, sizeof info);
                if (!run(step).ok()) return 1;
              }
              for (int i = 0; i < 2; i++) {
                siginfo_t got{};
                timespec none{};
                if (sigtimedwait(&all, &got, &none) != info.si_signo) return 2;
                if (got.si_code != SI_TIMER || got.si_value.sival_int != 77) return 3;
              }
              return 0;
            }),
            0);
}

}  // namespace
}  // namespace ncr::signal_queue
