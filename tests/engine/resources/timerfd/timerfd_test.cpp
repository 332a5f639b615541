#include "engine/resources/timerfd/timerfd.h"

#include <poll.h>
#include <sys/timerfd.h>

#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"

namespace ncr {
namespace {

constexpr long kHour = 3600;

// A file that waits in a socket has no number: what late() does is done at once.
TEST(Timerfd, keeps_the_time_left_and_the_interval) {
  Fd fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  itimerspec value{{5, 7}, {kHour, 0}};
  ASSERT_EQ(::timerfd_settime(fd.get(), 0, &value, nullptr), 0);
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  itimerspec now{};
  ASSERT_EQ(::timerfd_gettime(trip.opened(id), &now), 0);
  EXPECT_EQ(now.it_interval.tv_sec, 5);
  EXPECT_EQ(now.it_interval.tv_nsec, 7);
  EXPECT_GT(now.it_value.tv_sec, kHour - 60);
  EXPECT_LE(now.it_value.tv_sec, kHour);
}

TEST(Timerfd, keeps_expirations_that_nobody_read) {
  Fd fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  itimerspec value{{0, 0}, {0, 1}};
  ASSERT_EQ(::timerfd_settime(fd.get(), 0, &value, nullptr), 0);
  pollfd wait{fd.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&wait, 1, -1), 1);
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  ASSERT_TRUE(trip.restore().ok());
  uint64_t ticks = 0;
  EXPECT_EQ(::read(trip.opened(id), &ticks, sizeof ticks), static_cast<ssize_t>(sizeof ticks));
  EXPECT_EQ(ticks, 1u);
}

TEST(Timerfd, goes_on_towards_the_same_moment_of_a_wall_clock) {
  Fd fd(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC));
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  itimerspec value{{0, 0}, {now.tv_sec + kHour, 0}};
  ASSERT_EQ(::timerfd_settime(fd.get(), TFD_TIMER_ABSTIME, &value, nullptr), 0);
  Reopening trip;
  const schema::Timerfd& timer = trip.record(trip.dump(fd.get())).timerfd();
  EXPECT_EQ(timer.settime_flags(), static_cast<uint32_t>(TFD_TIMER_ABSTIME));
  uint64_t wanted = static_cast<uint64_t>(now.tv_sec + kHour) * 1'000'000'000;
  EXPECT_NEAR(static_cast<double>(timer.value_ns()), static_cast<double>(wanted), 1e7);
}

TEST(Timerfd, is_armed_by_the_last_stage_only) {
  const FdRoom* room = fd_room_of(schema::OpenFile::kTimerfd);
  schema::OpenFile record;
  record.mutable_timerfd()->set_value_ns(5);
  record.mutable_timerfd()->set_ticks(3);
  StepList steps;
  ASSERT_TRUE(room->late(record, FdNumber{7}, steps).ok());
  EXPECT_TRUE(steps.encode(wire::Stage::kMemory, wire::Stage::kThread).empty());
  std::string late = steps.encode(wire::Stage::kLate, wire::Stage::kLate);
  ASSERT_EQ(late.size(), sizeof(wire::StepHeader) + sizeof(timerfd::ArmTimerfd));
  timerfd::ArmTimerfd step;
  std::memcpy(&step, late.data() + sizeof(wire::StepHeader), sizeof step);
  EXPECT_EQ(step.fd, 7);
  EXPECT_EQ(step.value_ns, 5u);
  EXPECT_EQ(step.ticks, 3u);
}

CR_TEST(timerfd, is_armed_again_with_the_time_that_was_left) {
  Fd fd(MUST(SYSCALL(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "timerfd_create")));
  itimerspec value{{2, 0}, {kHour, 0}};
  MUST(SYSCALL(::timerfd_settime(fd.get(), 0, &value, nullptr), "timerfd_settime"));
  checkpoint_restore();
  itimerspec now{};
  MUST(SYSCALL(::timerfd_gettime(fd.get(), &now), "timerfd_gettime"));
  EXPECT_EQ(now.it_interval.tv_sec, 2);
  EXPECT_GT(now.it_value.tv_sec, kHour - 600);
}

CR_TEST(timerfd, an_expiration_that_nobody_read_is_still_there) {
  Fd fd(MUST(SYSCALL(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "timerfd_create")));
  itimerspec value{{0, 0}, {0, 1}};
  MUST(SYSCALL(::timerfd_settime(fd.get(), 0, &value, nullptr), "timerfd_settime"));
  pollfd wait{fd.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&wait, 1, -1), 1);
  checkpoint_restore();
  uint64_t ticks = 0;
  MUST(sys::read_exact(fd, &ticks, sizeof ticks));
  EXPECT_EQ(ticks, 1u);
}

CR_TEST(timerfd, a_disarmed_one_stays_disarmed) {
  Fd fd(MUST(
      SYSCALL(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd_create")));
  checkpoint_restore();
  itimerspec now{};
  MUST(SYSCALL(::timerfd_gettime(fd.get(), &now), "timerfd_gettime"));
  EXPECT_EQ(now.it_value.tv_sec + now.it_value.tv_nsec, 0);
}

}  // namespace
}  // namespace ncr
