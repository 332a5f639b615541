#include "engine/resources/eventfd/eventfd.h"

#include <sys/eventfd.h>

#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr {
namespace {

uint64_t read_counter(int fd) {
  uint64_t value = 0;
  return ::read(fd, &value, sizeof value) == sizeof value ? value : 0;
}

TEST(Eventfd, keeps_a_counter_wider_than_32_bits) {
  Fd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  uint64_t count = 1ull << 40;
  ASSERT_TRUE(sys::write_all(fd, &count, sizeof count).ok());
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_EQ(read_counter(trip.opened(id)), count);
  EXPECT_EQ(::fcntl(trip.opened(id), F_GETFL), O_RDWR | O_NONBLOCK);
  EXPECT_EQ(read_counter(fd.get()), count) << "the original is as it was";
}

TEST(Eventfd, stays_a_semaphore) {
  Fd fd(::eventfd(3, EFD_SEMAPHORE | EFD_CLOEXEC));
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  ASSERT_TRUE(trip.restore().ok());
  EXPECT_EQ(read_counter(trip.opened(id)), 1u);
  EXPECT_EQ(read_counter(trip.opened(id)), 1u);
}

TEST(Eventfd, keeps_the_largest_count) {
  Fd fd(::eventfd(0, EFD_CLOEXEC));
  uint64_t count = ~uint64_t{0} - 1;
  ASSERT_TRUE(sys::write_all(fd, &count, sizeof count).ok());
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  ASSERT_TRUE(trip.restore().ok());
  EXPECT_EQ(read_counter(trip.opened(id)), count);
}

TEST(Eventfd, is_told_from_a_semaphore_by_reading_where_the_kernel_does_not_say) {
  for (uint64_t count : {0ull, 1ull, 2ull, 77ull}) {
    for (int kind : {0, static_cast<int>(EFD_SEMAPHORE)}) {
      Fd fd(::eventfd(static_cast<unsigned>(count), EFD_NONBLOCK | EFD_CLOEXEC | kind));
      EXPECT_EQ(value_of(eventfd::semaphore_by_reading(fd, count)), kind != 0);
      uint64_t total = 0;
      while (uint64_t part = read_counter(fd.get())) total += part;
      EXPECT_EQ(total, count) << "the count is as before";
    }
  }
}

CR_TEST(eventfd, keeps_its_counter_and_its_number) {
  Fd fd(MUST(SYSCALL(::eventfd(0, EFD_NONBLOCK), "eventfd")));
  uint64_t count = 1ull << 40;
  MUST(sys::write_all(fd, &count, sizeof count));
  checkpoint_restore();
  EXPECT_EQ(read_counter(fd.get()), count);
  EXPECT_EQ(::fcntl(fd.get(), F_GETFD), 0) << "no close-on-exec, as it was made";
}

CR_TEST(eventfd, parent_and_child_still_share_it) {
  Fd to_child(MUST(SYSCALL(::eventfd(0, EFD_CLOEXEC), "eventfd")));
  Fd to_parent(MUST(SYSCALL(::eventfd(0, EFD_CLOEXEC), "eventfd")));
  pid_t child = test::fork_child([&] {
    uint64_t value = read_counter(to_child.get());
    MUST(sys::write_all(to_parent, &value, sizeof value));
  });
  checkpoint_restore();
  uint64_t value = 77;
  MUST(sys::write_all(to_child, &value, sizeof value));
  EXPECT_EQ(read_counter(to_parent.get()), value);
  int status = 0;
  EXPECT_TRUE(test::wait_exit(child, &status, std::chrono::seconds(10)));
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace ncr
