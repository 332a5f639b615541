#include "engine/resources/cgroup/hierarchies.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/engine/resources/in_child.h"

namespace ncr::cgroup {
namespace {

TEST(CgroupHierarchies, every_one_of_ours_can_be_opened) {
  Result<Hierarchies> machine = Hierarchies::look();
  ASSERT_TRUE(machine.ok());
  if (machine.value().own().empty() || ::geteuid() != 0) GTEST_SKIP();
  for (const Membership& one : machine.value().own()) {
    Result<Fd> root = machine.value().open_root(one.controllers);
    ASSERT_TRUE(root.ok()) << root.error().text();
    EXPECT_EQ(::faccessat(root.value().get(), "cgroup.procs", F_OK, 0), 0) << one.controllers;
  }
}

TEST(CgroupHierarchies, one_that_is_not_there_is_refused) {
  Result<Hierarchies> machine = Hierarchies::look();
  ASSERT_TRUE(machine.ok());
  EXPECT_FALSE(machine.value().open_root("name=nobody-has-this").ok());
}

// Takes a hierarchy down: it has no cgroup below its root, and this was its only mount.
bool mount_and_close(const char* name) {
  Fd context(::fsopen("cgroup", FSOPEN_CLOEXEC));
  if (::fsconfig(context.get(), FSCONFIG_SET_STRING, "name", name, 0) != 0 ||
      ::fsconfig(context.get(), FSCONFIG_SET_FLAG, "none", nullptr, 0) != 0 ||
      ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return false;
  return Fd(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0)).valid();
}

TEST(CgroupHierarchies, one_that_is_being_taken_down_is_waited_for) {
  if (!mount_and_close("nativecr-dying")) GTEST_SKIP() << "no cgroup v1 can be mounted";
  Result<Hierarchies> machine = Hierarchies::look();
  ASSERT_TRUE(machine.ok());
  if (machine.value().own_in("name=nativecr-dying") == nullptr) GTEST_SKIP() << "it is gone";
  Result<Fd> root = machine.value().open_root("name=nativecr-dying");
  EXPECT_TRUE(root.ok()) << root.error().text();
}

// The same directory is found where nothing is mounted.
TEST(CgroupHierarchies, an_unmounted_one_is_mounted_out_of_sight) {
  const int status = testing::in_child([] {
    if (::unshare(CLONE_NEWNS) != 0) return 77;
    ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    Result<Hierarchies> before = Hierarchies::look();
    if (!before.ok()) return 1;
    ::umount2("/sys/fs/cgroup", MNT_DETACH);
    Result<Hierarchies> after = Hierarchies::look();
    if (!after.ok()) return 2;
    for (const Membership& one : before.value().own()) {
      Result<Fd> seen = before.value().open_root(one.controllers);
      Result<Fd> unseen = after.value().open_root(one.controllers);
      if (!seen.ok() || !unseen.ok()) return 3;
      struct stat a {};
      struct stat b {};
      if (::fstat(seen.value().get(), &a) != 0 || ::fstat(unseen.value().get(), &b) != 0) return 4;
      if (a.st_dev != b.st_dev || a.st_ino != b.st_ino) return 5;
    }
    return 0;
  });
  if (status == 77) GTEST_SKIP() << "no mount namespace can be made";
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace ncr::cgroup
