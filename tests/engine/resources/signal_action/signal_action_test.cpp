#include "engine/resources/signal_action/signal_action.h"

#include <gtest/gtest.h>

#include <csignal>

#include "engine/resources/signal_action/signal_action.parasite.cpp"
#include "engine/resources/signal_action/signal_action.restorer.cpp"
#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/in_child.h"

namespace ncr::signal_action {
namespace {

TEST(signal_action, is_set_as_given_and_all_others_to_default) {
  EXPECT_EQ(testing::in_child([] {
              (void)signal(SIGHUP, SIG_IGN);
              testing::WithTail<Set, Numbered[2]> list{
                  {2},
                  {{SIGUSR1, {1, 0, 0, 0}}, {40, {0x1000, SA_SIGINFO | 0x04000000, 0x2000, 6}}}};
              if (!run(list.step).ok()) return 1;
              Get::Reply reply;
              if (!handle({.wanted = ~uint64_t{0}}, reply).ok()) return 2;
              if (reply.actions[SIGHUP - 1].handler != 0) return 3;
              if (reply.actions[SIGUSR1 - 1].handler != 1) return 4;
              const KernelSigaction& last = reply.actions[40 - 1];
              return last.handler == 0x1000 && last.restorer == 0x2000 && last.mask == 6 &&
                             (last.flags & SA_SIGINFO) != 0
                         ? 0
                         : 5;
            }),
            0);
}

TEST(signal_action, forgets_a_sigchld_of_a_child_that_was_only_to_be_a_zombie) {
  EXPECT_EQ(
      testing::in_child([] {
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, nullptr);
        (void)raise(SIGCHLD);
        testing::WithTail<Set, Numbered[1]> list{{1}, {{SIGCHLD, {0x1000, 0x04000000, 0x2000, 0}}}};
        if (!run(list.step).ok()) return 1;
        sigset_t pending;
        sigpending(&pending);
        return sigismember(&pending, SIGCHLD) == 0 ? 0 : 2;
      }),
      0);
}

}  // namespace
}  // namespace ncr::signal_action

namespace ncr::test {
namespace {

volatile sig_atomic_t handled = 0;

CR_TEST(signal_action, handlers_flags_and_masks_are_kept) {
  struct sigaction with_info {};
  with_info.sa_sigaction = [](int number, siginfo_t*, void*) { handled = number; };
  with_info.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
  sigaddset(&with_info.sa_mask, SIGHUP);
  sigaddset(&with_info.sa_mask, SIGRTMAX);
  ASSERT_EQ(sigaction(SIGUSR1, &with_info, nullptr), 0);
  ASSERT_EQ(sigaction(SIGRTMAX - 1, &with_info, nullptr), 0);
  ASSERT_NE(signal(SIGPIPE, SIG_IGN), SIG_ERR);
  struct sigaction of_children {};
  of_children.sa_handler = SIG_DFL;
  of_children.sa_flags = SA_NOCLDWAIT;
  ASSERT_EQ(sigaction(SIGCHLD, &of_children, nullptr), 0);
  checkpoint_restore();
  for (int number : {SIGUSR1, SIGRTMAX - 1}) {
    struct sigaction now {};
    ASSERT_EQ(sigaction(number, nullptr, &now), 0);
    EXPECT_EQ(now.sa_sigaction, with_info.sa_sigaction);
    EXPECT_EQ(now.sa_flags & ~0x04000000, with_info.sa_flags);
    EXPECT_EQ(sigismember(&now.sa_mask, SIGHUP), 1);
    EXPECT_EQ(sigismember(&now.sa_mask, SIGRTMAX), 1);
    EXPECT_EQ(sigismember(&now.sa_mask, SIGINT), 0);
    raise(number);
    EXPECT_EQ(handled, number);
  }
  struct sigaction now {};
  sigaction(SIGPIPE, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_IGN);
  sigaction(SIGTERM, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_DFL);
  sigaction(SIGCHLD, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_DFL);
  EXPECT_NE(now.sa_flags & SA_NOCLDWAIT, 0);
}

// The kernel resets the action of a trap that it must deliver to a thread that blocks it, and a
// debugger's ways to run a single instruction are traps.
CR_TEST(signal_action, a_handler_of_traps_is_kept) {
  ASSERT_NE(signal(SIGTRAP, [](int number) { handled = number; }), SIG_ERR);
  ASSERT_NE(signal(SIGSEGV, SIG_IGN), SIG_ERR);
  checkpoint_restore();
  raise(SIGTRAP);
  EXPECT_EQ(handled, SIGTRAP);
  struct sigaction now {};
  sigaction(SIGSEGV, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_IGN);
}

CR_TEST(signal_action, an_ignored_and_blocked_trap_stays_so) {
  ASSERT_NE(signal(SIGTRAP, SIG_IGN), SIG_ERR);
  sigset_t traps;
  sigemptyset(&traps);
  sigaddset(&traps, SIGTRAP);
  sigprocmask(SIG_BLOCK, &traps, nullptr);
  checkpoint_restore();
  struct sigaction now {};
  sigaction(SIGTRAP, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_IGN);
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_EQ(sigismember(&mask, SIGTRAP), 1);
}

}  // namespace
}  // namespace ncr::test
