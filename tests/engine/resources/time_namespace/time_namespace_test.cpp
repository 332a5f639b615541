#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <ctime>

#include "engine/base/sys.h"
#include "engine/resources/time_namespace/offsets.h"
#include "tests/support/checkpoint_test.h"

namespace ncr::time_namespace {
namespace {

TEST(time_namespace, offsets_are_read_by_clock) {
  auto offsets =
      parse_offsets("monotonic           -2  500000000\nboottime            7          0\n");
  ASSERT_TRUE(offsets.ok());
  EXPECT_EQ(offsets.value().monotonic_ns, -1'500'000'000);
  EXPECT_EQ(offsets.value().boottime_ns, 7'000'000'000);
}

TEST(time_namespace, a_strange_line_is_refused) {
  EXPECT_FALSE(parse_offsets("monotonic\n").ok());
  EXPECT_FALSE(parse_offsets("?").ok());
}

// Ours, one whose monotonic clock is off by so many seconds, and back.
Fd enter_new_time(int64_t seconds) {
  Fd before = MUST(sys::open("/proc/self/ns/time", O_RDONLY));
  MUST(SYSCALL(::unshare(CLONE_NEWTIME), "unshare"));
  const std::string line = strf("monotonic %lld 0\n", static_cast<long long>(seconds));
  Fd offsets = MUST(sys::open("/proc/self/timens_offsets", O_WRONLY));
  MUST(sys::write_all(offsets, line.data(), line.size()));
  Fd made = MUST(sys::open("/proc/self/ns/time_for_children", O_RDONLY));
  MUST(SYSCALL(::setns(made.get(), CLONE_NEWTIME), "setns"));
  return before;
}

time_t monotonic_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

void clock_goes_on() {
  constexpr time_t kDay = 24 * 3600;
  const time_t outside = monotonic_seconds();
  Fd unused = enter_new_time(30 * kDay);
  unused = Fd();
  const time_t before = monotonic_seconds();
  ASSERT_GE(before, 30 * kDay);
  checkpoint_restore();
  EXPECT_GE(monotonic_seconds(), before);
  EXPECT_LT(monotonic_seconds(), before + kDay) << "outside it was " << outside;
}

CR_TEST(time_namespace, clocks_go_on_where_they_were) { clock_goes_on(); }

TEST(cr_time_namespace, clocks_go_on_where_the_engine_is_in_a_time_namespace_too) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  constexpr int64_t kDay = 24 * 3600;
  Fd before = enter_new_time(110 * kDay);
  test::run_checkpoint_test(clock_goes_on);
  MUST(SYSCALL(::setns(before.get(), CLONE_NEWTIME), "setns"));
}

}  // namespace
}  // namespace ncr::time_namespace
