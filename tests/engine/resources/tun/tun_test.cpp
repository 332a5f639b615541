#include "engine/resources/tun/tun.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "tests/support/checkpoint_test.h"

namespace ncr::tun {
namespace {

int open_node() { return ::open("/dev/net/tun", O_RDWR | O_NONBLOCK); }

ifreq request_of(const char* name, int flags) {
  ifreq request{};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(flags);
  return request;
}

int attach(const char* name, int flags) {
  int fd = open_node();
  ifreq request = request_of(name, flags);
  EXPECT_EQ(::ioctl(fd, TUNSETIFF, &request), 0) << strerror(errno);
  return fd;
}

std::string link_of(int fd) {
  ifreq told{};
  return ::ioctl(fd, TUNGETIFF, &told) == 0 ? told.ifr_name : "";
}

int asked(int fd, unsigned long what) {
  int value = -1;
  EXPECT_EQ(::ioctl(fd, what, &value), 0);
  return value;
}

bool shell(const std::string& command) { return std::system(command.c_str()) == 0; }

// A datagram to an address behind the tun comes out of its descriptor.
void expect_packet(int fd, const char* address, size_t header) {
  char packet[2000];
  while (::read(fd, packet, sizeof packet) > 0) {
  }
  int speaker = ::socket(AF_INET, SOCK_DGRAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(7);
  ::inet_pton(AF_INET, address, &to.sin_addr);
  ASSERT_EQ(::sendto(speaker, "hello", 5, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 5)
      << strerror(errno);
  for (pollfd wait{fd, POLLIN, 0}; ::poll(&wait, 1, 2000) == 1;) {
    const ssize_t size = ::read(fd, packet, sizeof packet);
    if (size != static_cast<ssize_t>(header + 20 + 8 + 5)) continue;  // the kernel's own
    EXPECT_EQ(memcmp(packet + size - 5, "hello", 5), 0);
    ::close(speaker);
    return;
  }
  ADD_FAILURE() << "no packet came out of the tun";
}

TEST(tun_fdinfo, tells_the_link) {
  EXPECT_EQ(link_in_fdinfo("pos:\t0\nflags:\t02\nmnt_id:\t9\niff:\ttun7\n"), "tun7");
  EXPECT_EQ(link_in_fdinfo("pos:\t0\niff:\t\n"), "");
  EXPECT_EQ(link_in_fdinfo("pos:\t0\nnot-iff:\tx\n"), "");
  EXPECT_EQ(link_in_fdinfo(""), "");
}

CR_TEST(tun, one_that_is_attached_to_no_link_can_be_attached_later) {
  MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  int fd = open_node();
  checkpoint_restore();
  EXPECT_EQ(link_of(fd), "");
  EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  ifreq request = request_of("late0", IFF_TUN);
  EXPECT_EQ(::ioctl(fd, TUNSETIFF, &request), 0);
  EXPECT_NE(::if_nametoindex("late0"), 0u);
}

CR_TEST(tun, a_link_that_lives_with_its_descriptor_comes_back_with_its_addresses) {
  MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  int fd = attach("vpn0", IFF_TUN | IFF_NO_PI);
  ASSERT_TRUE(shell("ip link set vpn0 mtu 1300 up && ip addr add 10.91.0.1/24 dev vpn0"));
  const unsigned index = ::if_nametoindex("vpn0");
  checkpoint_restore();
  EXPECT_EQ(link_of(fd), "vpn0");
  EXPECT_EQ(::if_nametoindex("vpn0"), index);
  EXPECT_TRUE(
      shell("ip -d link show vpn0 | grep -q 'mtu 1300.*' && "
            "ip -d link show vpn0 | grep -q 'tun type tun pi off.*persist off'"));
  expect_packet(fd, "10.91.0.9", 0);
  ::close(fd);
  EXPECT_EQ(::if_nametoindex("vpn0"), 0u) << "it goes away with its descriptor";
}

CR_TEST(tun, a_link_that_lasts_stays_when_its_descriptor_is_closed) {
  MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  int fd = attach("last0", IFF_TUN);
  ASSERT_EQ(::ioctl(fd, TUNSETPERSIST, 1UL), 0);
  ASSERT_EQ(::ioctl(fd, TUNSETOWNER, 7UL), 0);
  ASSERT_TRUE(shell("ip link set last0 up && ip addr add 10.92.0.1/24 dev last0"));
  checkpoint_restore();
  EXPECT_TRUE(shell("ip -d link show last0 | grep -q 'pi on.*persist on user'"));
  expect_packet(fd, "10.92.0.9", 4);
  ::close(fd);
  EXPECT_NE(::if_nametoindex("last0"), 0u);
}

CR_TEST(tun, a_tap_keeps_its_address_its_headers_and_its_offloads) {
  MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  int fd = attach("vm0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
  int size = 12;
  int room = 70000;
  ASSERT_EQ(::ioctl(fd, TUNSETVNETHDRSZ, &size), 0);
  ASSERT_EQ(::ioctl(fd, TUNSETSNDBUF, &room), 0);
  ASSERT_EQ(::ioctl(fd, TUNSETOFFLOAD, static_cast<unsigned long>(TUN_F_CSUM | TUN_F_TSO4)), 0);
  ifreq before{}, after{};
  ASSERT_EQ(::ioctl(fd, SIOCGIFHWADDR, &before), 0);
  checkpoint_restore();
  ASSERT_EQ(::ioctl(fd, SIOCGIFHWADDR, &after), 0);
  EXPECT_EQ(memcmp(&before.ifr_hwaddr, &after.ifr_hwaddr, 14), 0);
  EXPECT_EQ(asked(fd, TUNGETVNETHDRSZ), 12);
  EXPECT_EQ(asked(fd, TUNGETSNDBUF), 70000);
  EXPECT_TRUE(shell("ip -d link show vm0 | grep -q 'tun type tap pi off vnet_hdr on persist off'"));
  // A frame of checksums that whoever reads is to fill in.
  ASSERT_TRUE(
      shell("ip link set vm0 up && ip addr add 10.93.0.1/24 dev vm0 && "
            "ip neigh add 10.93.0.9 lladdr 02:00:00:00:00:09 dev vm0"));
  expect_packet(fd, "10.93.0.9", 12 + 14);
}

CR_TEST(tun, queues_of_one_link_are_attached_and_detached_as_they_were) {
  MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  const int flags = IFF_TUN | IFF_MULTI_QUEUE;
  int first = attach("mq0", flags);
  int second = attach("mq0", flags);
  ifreq off = request_of("mq0", IFF_DETACH_QUEUE);
  ASSERT_EQ(::ioctl(second, TUNSETQUEUE, &off), 0);
  checkpoint_restore();
  EXPECT_EQ(link_of(first), "mq0");
  EXPECT_EQ(link_of(second), "mq0");
  ifreq told{};
  ASSERT_EQ(::ioctl(second, TUNGETIFF, &told), 0);
  EXPECT_NE(told.ifr_flags & IFF_DETACH_QUEUE, 0);
  EXPECT_EQ(::ioctl(first, TUNSETQUEUE, &off), 0);
  ifreq on = request_of("mq0", IFF_ATTACH_QUEUE);
  EXPECT_EQ(::ioctl(second, TUNSETQUEUE, &on), 0);
}

CR_TEST(tun, one_that_two_processes_share_is_still_one) {
  MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  int fd = attach("both0", IFF_TUN | IFF_NO_PI);
  int ends[2];
  MUST(SYSCALL(::pipe(ends), "pipe"));
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[1]);
    char byte = 0;
    (void)!::read(ends[0], &byte, 1);
    ::_exit(link_of(fd) == "both0" ? 0 : 1);
  }
  ::close(ends[0]);
  checkpoint_restore();
  ::close(fd);
  EXPECT_NE(::if_nametoindex("both0"), 0u);
  ::close(ends[1]);
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(::if_nametoindex("both0"), 0u);
}

TEST(cr_tun, a_link_that_would_go_away_in_a_network_that_stays_is_refused) {
  test::Options options;
  options.refused_with = "goes away with its descriptors";
  test::run_checkpoint_test(
      [] {
        int fd = attach("ncrtest0", IFF_TUN);
        checkpoint_restore();
        EXPECT_EQ(link_of(fd), "ncrtest0");
      },
      options);
}

TEST(cr_tun, a_link_that_lasts_in_a_network_that_stays_is_attached_to_again) {
  test::run_checkpoint_test([] {
    int fd = attach("ncrtest1", IFF_TUN);
    ASSERT_EQ(::ioctl(fd, TUNSETPERSIST, 1UL), 0);
    checkpoint_restore();
    EXPECT_EQ(link_of(fd), "ncrtest1");
    EXPECT_EQ(::ioctl(fd, TUNSETPERSIST, 0UL), 0);
  });
}

}  // namespace
}  // namespace ncr::tun
