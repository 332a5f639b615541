#include "engine/base/foreign_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "engine/base/sys.h"

namespace ncr {
namespace {

uint64_t inode_of(const Fd& nsfs) {
  struct stat status {};
  return ::fstat(nsfs.get(), &status) == 0 ? status.st_ino : 0;
}
uint64_t own_network() { return inode_of(sys::open("/proc/thread-self/ns/net", O_RDONLY).take()); }
uint64_t network_of(const Fd& socket) { return inode_of(Fd(::ioctl(socket.get(), SIOCGSKNS))); }

TEST(foreign_socket, is_made_where_the_namespace_is_and_its_maker_comes_back) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  Fd there;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) == 0)
      there = sys::open("/proc/thread-self/ns/net", O_RDONLY).take();
  }).join();
  ASSERT_TRUE(there.valid());
  const uint64_t own = own_network();
  ASSERT_NE(inode_of(there), own);
  Result<Fd> made = socket_in(there, AF_INET, SOCK_DGRAM);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(network_of(made.value()), inode_of(there));
  EXPECT_EQ(own_network(), own);
  Result<Fd> beside = socket_beside(made.value(), AF_NETLINK, SOCK_RAW, 0);
  ASSERT_TRUE(beside.ok());
  EXPECT_EQ(network_of(beside.value()), inode_of(there));
  EXPECT_FALSE(socket_in(there, AF_INET, -1).ok());
  EXPECT_EQ(own_network(), own);
}

}  // namespace
}  // namespace ncr
