#include "engine/resources/signal_queue/signal_queue.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <thread>

#include "engine/resources/signal_queue/signal_queue.restorer.cpp"
#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/in_child.h"
#include "tests/support/child_process.h"

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

namespace ncr::test {
namespace {

CR_TEST(signal_queue, pending_signals_keep_order_values_and_senders) {
  sigset_t set;
  sigfillset(&set);
  pthread_sigmask(SIG_SETMASK, &set, nullptr);
  for (int value : {3, 1, 2})
    ASSERT_EQ(sigqueue(getpid(), SIGRTMIN + 2, sigval{.sival_int = value}), 0);
  ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
  ASSERT_EQ(raise(SIGUSR2), 0);
  checkpoint_restore();
  const timespec none{};
  siginfo_t info{};
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, SIGRTMIN + 2);
  for (int value : {3, 1, 2}) {
    ASSERT_EQ(sigtimedwait(&one, &info, &none), SIGRTMIN + 2);
    EXPECT_EQ(info.si_value.sival_int, value);
    EXPECT_EQ(info.si_code, SI_QUEUE);
    EXPECT_EQ(info.si_pid, getpid());
  }
  // A thread's own come first. glibc would turn SI_TKILL into SI_USER.
  ASSERT_EQ(syscall(SYS_rt_sigtimedwait, &set, &info, &none, sizeof(uint64_t)), SIGUSR2);
  EXPECT_EQ(info.si_code, SI_TKILL);
  ASSERT_EQ(sigtimedwait(&set, &info, &none), SIGUSR1);
  EXPECT_EQ(info.si_code, SI_USER);
  EXPECT_EQ(sigtimedwait(&set, &info, &none), -1);
}

std::atomic<int> threads_ready;
std::atomic<int> threads_go;

CR_TEST(signal_queue, a_second_stop_that_waits_changes_nothing) {
  const pid_t child = test::fork_child([] {
    for (;;) ::pause();
  });
  ASSERT_EQ(::kill(child, SIGSTOP), 0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WSTOPPED | WNOWAIT), 0);
  ASSERT_EQ(::kill(child, SIGSTOP), 0);
  ASSERT_EQ(::syscall(SYS_tkill, child, SIGSTOP), 0);
  checkpoint_restore();
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  EXPECT_TRUE(WIFSTOPPED(status));
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, &status, 0), child);
}

CR_TEST(signal_queue, a_signal_for_one_thread_waits_there) {
  static int got_here = 0;
  static int got_there = 0;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::thread thread([] {
    threads_ready = 1;
    await(threads_go);
    sigset_t mine;
    sigemptyset(&mine);
    sigaddset(&mine, SIGUSR1);
    const timespec none{};
    got_there = sigtimedwait(&mine, nullptr, &none);
  });
  await(threads_ready);
  ASSERT_EQ(pthread_kill(thread.native_handle(), SIGUSR1), 0);
  checkpoint_restore();
  const timespec none{};
  got_here = sigtimedwait(&set, nullptr, &none);
  threads_go = 1;
  thread.join();
  EXPECT_EQ(got_here, -1);
  EXPECT_EQ(got_there, SIGUSR1);
}

}  // namespace
}  // namespace ncr::test
