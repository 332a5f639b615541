#include <signal.h>

#include <thread>

#include "tests/engine/resources/beside.h"

namespace ncr::test {
namespace {

CR_TEST(signal_mask, every_thread_keeps_its_own) {
  static std::atomic<int> ready;
  static std::atomic<int> go;
  static sigset_t seen;
  std::thread thread([] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGRTMAX);
    pthread_sigmask(SIG_SETMASK, &set, nullptr);
    ready = 1;
    await(go);
    pthread_sigmask(SIG_SETMASK, nullptr, &seen);
  });
  await(ready);
  sigset_t own;
  sigemptyset(&own);
  sigaddset(&own, SIGUSR1);
  pthread_sigmask(SIG_SETMASK, &own, nullptr);
  checkpoint_restore();
  go = 1;
  thread.join();
  pthread_sigmask(SIG_SETMASK, nullptr, &own);
  for (int number = 1; number <= SIGRTMAX; number++) {
    EXPECT_EQ(sigismember(&own, number), number == SIGUSR1 ? 1 : 0) << number;
    EXPECT_EQ(sigismember(&seen, number), number == SIGUSR2 || number == SIGRTMAX ? 1 : 0)
        << number;
  }
}

volatile sig_atomic_t taken = 0;

CR_TEST(signal_mask, a_thread_in_sigsuspend_takes_its_signal_and_has_its_mask_again) {
  static sigset_t after;
  static int error = 0;
  signal(SIGUSR1, [](int) { taken = taken + 1; });
  std::thread thread([] {
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
    sigset_t none;
    sigemptyset(&none);
    sigsuspend(&none);
    error = errno;
    pthread_sigmask(SIG_SETMASK, nullptr, &after);
  });
  const timespec pause{0, 10'000'000};
  nanosleep(&pause, nullptr);
  checkpoint_restore();
  pthread_kill(thread.native_handle(), SIGUSR1);
  thread.join();
  EXPECT_EQ(taken, 1);
  EXPECT_EQ(error, EINTR);
  EXPECT_EQ(sigismember(&after, SIGUSR1), 1);
}

}  // namespace
}  // namespace ncr::test
