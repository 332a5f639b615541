#include "engine/resources/device/device.h"

#include <sys/sysmacros.h>

#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

TEST(Device, opens_the_same_node_with_the_same_flags) {
  Fd fd = value_of(sys::open("/dev/null", O_WRONLY | O_APPEND));
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_EQ(::fcntl(trip.opened(id), F_GETFL), ::fcntl(fd.get(), F_GETFL));
  struct stat now {};
  ASSERT_EQ(::fstat(trip.opened(id), &now), 0);
  EXPECT_EQ(now.st_rdev, makedev(1, 3));
}

TEST(Device, is_stateless_only_if_the_memory_driver_has_no_more_than_bytes_behind_it) {
  for (unsigned minor : {3u, 5u, 7u, 8u, 9u})
    EXPECT_TRUE(device::is_stateless(S_IFCHR, makedev(1, minor))) << minor;
  EXPECT_FALSE(device::is_stateless(S_IFCHR, makedev(1, 1)));
  EXPECT_FALSE(device::is_stateless(S_IFCHR, makedev(1, 11)));
  EXPECT_FALSE(device::is_stateless(S_IFCHR, makedev(10, 200)));
  EXPECT_FALSE(device::is_stateless(S_IFBLK, makedev(1, 3)));
}

TEST(Device, names_what_it_refuses) {
  EXPECT_NE(device::refuse(S_IFCHR, makedev(10, 232)).name.find("kvm"), std::string::npos);
  EXPECT_NE(device::refuse(S_IFCHR, makedev(10, 229)).name.find("FUSE"), std::string::npos);
  EXPECT_EQ(device::refuse(S_IFBLK, makedev(8, 1)).name, "block device 8:1");
}

TEST(Device, refuses_a_node_that_became_another_device) {
  Fd fd = value_of(sys::open("/dev/null", O_RDONLY));
  Reopening trip;
  schema::OpenFile record = trip.record(trip.dump(fd.get()));
  record.mutable_device()->set_minor(5);
  trip.image().files[record.id()] = record;
  RestorePlan plan;
  plan.image = &trip.image();
  RestoreRequest request;
  FileRestorer files(plan, request);
  Result<Fd> opened = fd_room_of(schema::OpenFile::kDevice)->open(files, record);
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.error().text().find("mknod"), std::string::npos);
}

CR_TEST(device, a_node_without_a_name_goes_on) {
  test::Scratch scratch;
  const std::string path = scratch.file("zero");
  if (::mknod(path.c_str(), S_IFCHR | 0600, makedev(1, 5)) != 0) return;
  Fd zero = MUST(sys::open(path.c_str(), O_RDONLY));
  ASSERT_EQ(::unlink(path.c_str()), 0);
  checkpoint_restore();
  char byte = 'x';
  EXPECT_EQ(::read(zero.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 0);
  EXPECT_FALSE(test::file_exists(path));
}

CR_TEST(device, null_zero_and_random_go_on) {
  Fd zero = MUST(sys::open("/dev/zero", O_RDONLY));
  Fd random = MUST(sys::open("/dev/urandom", O_RDONLY));
  Fd full = MUST(sys::open("/dev/full", O_WRONLY));
  checkpoint_restore();
  char byte = 'x';
  EXPECT_EQ(::read(zero.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 0);
  EXPECT_EQ(::read(random.get(), &byte, 1), 1);
  EXPECT_EQ(::write(full.get(), &byte, 1), -1);
}

CR_TEST_WITH(device, kernel_log_is_refused_by_name, .refused_with = "kernel log") {
  Fd log = MUST(sys::open("/dev/kmsg", O_RDONLY));
  checkpoint_restore();
  EXPECT_GE(::fcntl(log.get(), F_GETFL), 0);
}

}  // namespace
}  // namespace ncr
