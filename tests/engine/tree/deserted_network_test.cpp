#include "engine/tree/deserted_network.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr {
namespace {

uint64_t inode_of(const Fd& net_namespace) {
  struct stat stat {};
  EXPECT_EQ(::fstat(net_namespace.get(), &stat), 0);
  return stat.st_ino;
}

Fd own_network() { return MUST(sys::open("/proc/thread-self/ns/net", O_RDONLY)); }

// `body` in a child with a mount namespace of its own, whose failures are ours.
void in_child(const std::function<void()>& body) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  pid_t pid = test::fork_child([&] {
    if (::unshare(CLONE_NEWNS) != 0) ::_exit(2);
    ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    body();
    if (testing::Test::HasFailure()) ::_exit(1);
  });
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

TEST(cr_deserted_network, is_one_that_only_a_descriptor_holds) {
  in_child([] {
    Fd outside = own_network();
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    Fd inside = own_network();
    EXPECT_FALSE(MUST(is_deserted(inode_of(inside)))) << "we are in it";
    const std::string place = testing::TempDir() + strf("deserted-%d", ::getpid());
    MUST(sys::open(place.c_str(), O_CREAT | O_RDWR));
    ASSERT_EQ(::mount("/proc/thread-self/ns/net", place.c_str(), nullptr, MS_BIND, nullptr), 0);
    ASSERT_EQ(::setns(outside.get(), CLONE_NEWNET), 0);
    EXPECT_FALSE(MUST(is_deserted(inode_of(inside)))) << "a mount holds it";
    ASSERT_EQ(::umount(place.c_str()), 0);
    ::unlink(place.c_str());
    EXPECT_TRUE(MUST(is_deserted(inode_of(inside))));
  });
}

TEST(cr_deserted_network, has_no_link_that_is_up) {
  in_child([] {
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    ASSERT_EQ(::ioctl(socket.get(), SIOCSIFFLAGS, &request), 0);
    netlink::Socket routes = MUST(netlink::Socket::open(NETLINK_ROUTE));
    MUST(take_links_down(routes));
    ASSERT_EQ(::ioctl(socket.get(), SIOCGIFFLAGS, &request), 0);
    EXPECT_EQ(request.ifr_flags & IFF_UP, 0);
  });
}

}  // namespace
}  // namespace ncr
