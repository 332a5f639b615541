#include "engine/resources/fdinfo.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/sysmacros.h>

namespace ncr {
namespace {

constexpr const char* kHead = "pos:\t92\nflags:\t02100001\nmnt_id:\t27\nino:\t10952818\n";

TEST(Fdinfo, splits_the_flag_of_the_descriptor_from_those_of_the_description) {
  Result<FdInfo> info = parse_fdinfo(kHead);
  ASSERT_TRUE(info.ok()) << info.error().text();
  EXPECT_EQ(info.value().position, 92u);
  EXPECT_TRUE(info.value().close_on_exec);
  EXPECT_EQ(info.value().flags, 0100001u);
  EXPECT_EQ(info.value().mount_id, 27);
}

TEST(Fdinfo, names_the_line_it_misses) {
  Result<FdInfo> info = parse_fdinfo("pos:\t0\nmnt_id:\t2\n");
  ASSERT_FALSE(info.ok());
  EXPECT_NE(info.error().text().find("flags:"), std::string::npos);
}

TEST(Fdinfo, refuses_a_number_that_is_none) {
  EXPECT_FALSE(parse_fdinfo("pos:\tx\nflags:\t0\nmnt_id:\t2\n").ok());
}

TEST(Fdinfo, reads_an_eventfd_of_a_new_and_of_an_old_kernel) {
  Result<EventfdInfo> info =
      parse_eventfd("eventfd-count:       10000000000\neventfd-id: 1\neventfd-semaphore: 1\n");
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info.value().count, 0x10000000000u);
  EXPECT_EQ(info.value().semaphore, true);
  Result<EventfdInfo> old = parse_eventfd("eventfd-count:                5\neventfd-id: 1\n");
  ASSERT_TRUE(old.ok());
  EXPECT_FALSE(old.value().semaphore.has_value());
}

TEST(Fdinfo, reads_a_signalfd) {
  Result<uint64_t> mask = parse_signalfd_mask("sigmask:\t8000000000004000\n");
  ASSERT_TRUE(mask.ok());
  EXPECT_EQ(mask.value(), 0x8000000000004000u);
}

TEST(Fdinfo, reads_a_timerfd) {
  Result<TimerfdInfo> info = parse_timerfd(
      "clockid: 1\nticks: 7\nsettime flags: 03\nit_value: (0, 49406829)\nit_interval: (1, 0)\n");
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info.value().clock, 1);
  EXPECT_EQ(info.value().ticks, 7u);
  EXPECT_EQ(info.value().settime_flags, 3);
}

TEST(Fdinfo, reads_every_target_of_an_epoll) {
  Result<std::vector<EpollTarget>> targets = parse_epoll(
      "tfd:        4 events:       19 data:                4  pos:0 ino:38f7 sdev:f\n"
      "tfd:        5 events: 80000019 data: ffffffffffffffff  pos:12 ino:1 sdev:fe00000\n");
  ASSERT_TRUE(targets.ok()) << targets.error().text();
  ASSERT_EQ(targets.value().size(), 2u);
  EXPECT_EQ(targets.value()[0].number, 4);
  EXPECT_EQ(targets.value()[0].inode, 0x38f7u);
  EXPECT_EQ(targets.value()[0].device, 0xfu);
  EXPECT_EQ(targets.value()[1].events, 0x80000019u);
  EXPECT_EQ(targets.value()[1].data, ~uint64_t{0});
  EXPECT_FALSE(parse_epoll("tfd: x\n").ok());
}

TEST(Fdinfo, reads_the_watches_of_an_inotify_with_their_handles) {
  Result<std::vector<InotifyWatch>> watches = parse_inotify(
      "inotify wd:1f ino:3c51a sdev:fe00000 mask:fff ignored_mask:0 fhandle-bytes:8 fhandle-type:1 "
      "f_handle:1ac5030000000000\n"
      "inotify wd:2 ino:5 sdev:1a mask:2 ignored_mask:0 \n");
  ASSERT_TRUE(watches.ok()) << watches.error().text();
  ASSERT_EQ(watches.value().size(), 2u);
  EXPECT_EQ(watches.value()[0].descriptor, 31);
  EXPECT_EQ(watches.value()[0].mask, 0xfffu);
  EXPECT_EQ(watches.value()[0].file.handle, std::string("\x1a\xc5\x03\0\0\0\0\0", 8));
  EXPECT_EQ(watches.value()[1].file.handle, "");
}

TEST(Fdinfo, refuses_a_handle_shorter_than_it_says) {
  EXPECT_FALSE(parse_inotify("inotify wd:1 ino:1 sdev:1 mask:1 ignored_mask:0 fhandle-bytes:8 "
                             "fhandle-type:1 f_handle:1ac5\n")
                   .ok());
}

TEST(Fdinfo, tells_locks_of_the_process_from_those_of_the_description) {
  Result<std::vector<LockInfo>> locks = parse_locks(
      "lock:\t1: POSIX  ADVISORY  WRITE 9180 fe:00:10952826 5 14\n"
      "lock:\t2: FLOCK  ADVISORY  READ 9180 fe:00:10952825 0 EOF\n"
      "lock:\t3: OFDLCK ADVISORY  WRITE -1 fe:00:10952825 0 0\n"
      "lock:\t4: LEASE  ACTIVE    READ 9180 fe:00:10952825 0 EOF\n");
  ASSERT_TRUE(locks.ok()) << locks.error().text();
  ASSERT_EQ(locks.value().size(), 4u);
  EXPECT_EQ(locks.value()[0].kind, LockKind::kPosix);
  EXPECT_TRUE(locks.value()[0].write);
  EXPECT_EQ(locks.value()[0].start, 5u);
  EXPECT_EQ(locks.value()[0].end, 14u);
  EXPECT_EQ(locks.value()[1].kind, LockKind::kFlock);
  EXPECT_FALSE(locks.value()[1].write);
  EXPECT_EQ(locks.value()[1].end, ~uint64_t{0});
  EXPECT_EQ(locks.value()[2].kind, LockKind::kOpenFile);
  EXPECT_EQ(locks.value()[3].kind, LockKind::kLease);
}

TEST(Fdinfo, numbers_devices_as_the_kernel_does) {
  EXPECT_EQ(kernel_device(makedev(254, 3)), 0xfe00003u);
}

}  // namespace
}  // namespace ncr
