#include "engine/resources/posix_timer/posix_timer.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <csignal>
#include <ctime>

#include "engine/resources/posix_timer/posix_timer.parasite.cpp"
#include "engine/resources/posix_timer/posix_timer.restorer.cpp"
#include "engine/resources/posix_timer/timer_list.h"
#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/in_child.h"

namespace ncr::posix_timer {
namespace {

TEST(posix_timer, reads_every_kind_of_notification) {
  auto timers = parse_timers(
      "ID: 7\nsignal: 0/0000000000000000\nnotify: none/pid.4711\nClockID: 1\n"
      "ID: 2\nsignal: 34/00007f12345678a0\nnotify: signal/tid.4712\nClockID: 0\n"
      "ID: 3\nsignal: 14/0000000000000005\nnotify: signal/pid.4711\nClockID: -6\n");
  ASSERT_TRUE(timers.ok());
  ASSERT_EQ(timers.value().size(), 3u);
  EXPECT_EQ(timers.value()[0].id(), 2);
  EXPECT_EQ(timers.value()[0].notify(), SIGEV_SIGNAL | SIGEV_THREAD_ID);
  EXPECT_EQ(timers.value()[0].thread(), 4712);
  EXPECT_EQ(timers.value()[0].user_value(), 0x7f12345678a0u);
  EXPECT_EQ(timers.value()[1].notify(), SIGEV_SIGNAL);
  EXPECT_EQ(timers.value()[1].thread(), 0);
  EXPECT_EQ(timers.value()[1].clock(), -6);
  EXPECT_EQ(timers.value()[2].id(), 7);
  EXPECT_EQ(timers.value()[2].notify(), SIGEV_NONE);
}

TEST(posix_timer, no_timers_is_an_empty_list) { EXPECT_TRUE(parse_timers("").value().empty()); }

TEST(posix_timer, unknown_text_is_named) {
  auto timers = parse_timers("ID: x\n");
  ASSERT_FALSE(timers.ok());
  EXPECT_EQ(timers.error().code(), ErrorCode::kUnsupported);
}

TEST(posix_timer, is_made_again_under_its_number_and_armed) {
  EXPECT_EQ(testing::in_child([] {
              Create step{};
              step.id = 5;
              step.clock = CLOCK_MONOTONIC;
              step.notify = SIGEV_SIGNAL;
              step.signal = SIGUSR1;
              step.left = {7, 0, 1000, 0};
              if (!run(step).ok()) return 1;
              Get::Request request{};
              request.count = 1;
              request.ids[0] = 5;
              static Get::Reply reply;
              if (!handle(request, reply).ok()) return 2;
              const KernelItimerspec& left = reply.timers[0].left;
              return left.interval_s == 7 && left.value_s <= 1000 && left.value_s > 900 ? 0 : 3;
            }),
            0);
}

}  // namespace
}  // namespace ncr::posix_timer

namespace ncr::test {
namespace {

int kernel_timer(int clock, int notify, int number, int value, pid_t thread) {
  sigevent event{};
  event.sigev_notify = notify;
  event.sigev_signo = number;
  event.sigev_value.sival_int = value;
  event._sigev_un._tid = thread;
  int id = -1;
  return syscall(SYS_timer_create, clock, &event, &id) == 0 ? id : -1;
}

void arm(int id, time_t seconds, long nanoseconds, time_t interval) {
  itimerspec value{};
  value.it_value = {seconds, nanoseconds};
  value.it_interval = {interval, 0};
  ASSERT_EQ(syscall(SYS_timer_settime, id, 0, &value, nullptr), 0);
}

CR_TEST(posix_timer, keeps_numbers_times_and_what_it_sends) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 3);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  int first = kernel_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 1, 0);
  int dropped = kernel_timer(CLOCK_REALTIME, SIGEV_SIGNAL, SIGUSR1, 2, 0);
  int none = kernel_timer(CLOCK_BOOTTIME, SIGEV_NONE, 0, 3, 0);
  int soon = kernel_timer(CLOCK_MONOTONIC, SIGEV_THREAD_ID, SIGRTMIN + 3, 77, gettid());
  ASSERT_GE(soon, 0);
  ASSERT_EQ(syscall(SYS_timer_delete, dropped), 0);
  arm(first, 5000, 0, 600);
  arm(none, 7000, 0, 0);
  arm(soon, 0, 200'000'000, 0);
  checkpoint_restore();
  itimerspec left{};
  ASSERT_EQ(syscall(SYS_timer_gettime, first, &left), 0);
  EXPECT_EQ(left.it_interval.tv_sec, 600);
  EXPECT_LE(left.it_value.tv_sec, 5000);
  EXPECT_GT(left.it_value.tv_sec, 4000);
  ASSERT_EQ(syscall(SYS_timer_gettime, none, &left), 0);
  EXPECT_GT(left.it_value.tv_sec, 6000);
  EXPECT_EQ(syscall(SYS_timer_gettime, dropped, &left), -1);
  siginfo_t info{};
  const timespec patience{10, 0};
  ASSERT_EQ(sigtimedwait(&set, &info, &patience), SIGRTMIN + 3);
  EXPECT_EQ(info.si_code, SI_TIMER);
  EXPECT_EQ(info.si_value.sival_int, 77);
}

}  // namespace
}  // namespace ncr::test
