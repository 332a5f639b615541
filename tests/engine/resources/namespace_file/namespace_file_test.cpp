#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/base/sys.h"
#include "tests/engine/resources/beside.h"
#include "tests/support/checkpoint_test.h"

namespace ncr::namespace_file {
namespace {

Fd open_own(const char* kind) {
  return MUST(sys::open(strf("/proc/self/ns/%s", kind).c_str(), O_RDONLY));
}

bool same(const Fd& a, const Fd& b) {
  struct stat first {
  }, second{};
  return ::fstat(a.get(), &first) == 0 && ::fstat(b.get(), &second) == 0 &&
         first.st_ino == second.st_ino && first.st_dev == second.st_dev;
}

void expect_own(const Fd& fd, const char* kind) { EXPECT_TRUE(same(fd, open_own(kind))) << kind; }

CR_TEST(namespace_file, descriptors_of_namespaces_that_tasks_are_in) {
  MUST(SYSCALL(::unshare(CLONE_NEWNET | CLONE_NEWUTS), "unshare"));
  Fd net = open_own("net");
  Fd uts = open_own("uts");
  Fd path(MUST(SYSCALL(::open("/proc/self/ns/net", O_PATH | O_CLOEXEC), "open")));
  checkpoint_restore();
  expect_own(net, "net");
  expect_own(uts, "uts");
  expect_own(path, "net");
  EXPECT_EQ(::fcntl(path.get(), F_GETFL) & O_PATH, O_PATH);
  EXPECT_EQ(::ioctl(net.get(), NS_GET_NSTYPE), CLONE_NEWNET);
  MUST(SYSCALL(::setns(uts.get(), CLONE_NEWUTS), "setns"));
}

CR_TEST(namespace_file, descriptors_of_the_namespaces_that_everybody_is_in) {
  Fd user = open_own("user");
  Fd pid = open_own("pid_for_children");
  Fd cgroup = open_own("cgroup");
  Fd owner(MUST(SYSCALL(::ioctl(cgroup.get(), NS_GET_USERNS), "NS_GET_USERNS")));
  checkpoint_restore();
  expect_own(user, "user");
  expect_own(pid, "pid");
  expect_own(cgroup, "cgroup");
  expect_own(owner, "user");
}

CR_TEST(namespace_file, a_descriptor_of_another_tasks_namespace) {
  Fd first = open_own("uts");
  MUST(SYSCALL(::unshare(CLONE_NEWUTS), "unshare"));
  MUST(SYSCALL(::sethostname("parent", 6), "sethostname"));
  Fd second = open_own("uts");
  test::checkpoint_beside([&] { MUST(SYSCALL(::setns(first.get(), CLONE_NEWUTS), "setns")); },
                          [&] {
                            EXPECT_TRUE(same(first, open_own("uts")));
                            MUST(SYSCALL(::setns(second.get(), CLONE_NEWUTS), "setns"));
                            utsname names{};
                            ::uname(&names);
                            EXPECT_STREQ(names.nodename, "parent");
                          });
}

CR_TEST(namespace_file, a_uts_namespace_that_only_a_descriptor_holds) {
  Fd own = open_own("uts");
  MUST(SYSCALL(::unshare(CLONE_NEWUTS), "unshare"));
  MUST(SYSCALL(::sethostname("held", 4), "sethostname"));
  Fd held = open_own("uts");
  MUST(SYSCALL(::setns(own.get(), CLONE_NEWUTS), "setns"));
  checkpoint_restore();
  expect_own(own, "uts");
  EXPECT_FALSE(same(held, own));
  MUST(SYSCALL(::setns(held.get(), CLONE_NEWUTS), "setns"));
  utsname names{};
  ::uname(&names);
  EXPECT_STREQ(names.nodename, "held");
}

CR_TEST(namespace_file, a_user_namespace_without_tasks_is_one_afterwards) {
  Fd held;
  int ready[2];
  MUST(SYSCALL(::pipe2(ready, O_CLOEXEC), "pipe2"));
  pid_t pid = test::fork_child([&] {
    MUST(SYSCALL(::unshare(CLONE_NEWUSER), "unshare"));
    EXPECT_EQ(::write(ready[1], "x", 1), 1);
    ::pause();
  });
  char byte = 0;
  EXPECT_EQ(::read(ready[0], &byte, 1), 1);
  held = MUST(sys::open(strf("/proc/%d/ns/user", pid).c_str(), O_RDONLY));
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  checkpoint_restore();
  EXPECT_EQ(::ioctl(held.get(), NS_GET_NSTYPE), CLONE_NEWUSER);
  const Fd above(::ioctl(held.get(), NS_GET_PARENT));
  expect_own(above, "user");
}

}  // namespace
}  // namespace ncr::namespace_file
