#include "engine/tree/closed_network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/netfilter.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "engine/base/sys.h"
#include "tests/engine/resources/in_child.h"

namespace ncr {
namespace {

sockaddr_in address_of(const char* host, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, host, &address.sin_addr);
  return address;
}

int receiver_at(const char* host) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = address_of(host, 7004);
  return ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? fd : -1;
}

int sender() { return ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); }

// Whether a datagram gets there; one that is dropped is not sent again.
bool arrives(int from, const char* host, int at) {
  const sockaddr_in to = address_of(host, 7004);
  (void)::sendto(from, "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  pollfd wait{at, POLLIN, 0};
  char byte = 0;
  return ::poll(&wait, 1, 200) == 1 && ::recv(at, &byte, 1, 0) == 1;
}

int run(const char* commands) { return std::system(commands); }

// Two network namespaces, 10.81.0.1 here and 10.81.0.2 there; sockets work where they were made.
// What did not hold, as the number of a step; 0: all did.
int two_ends_of_a_cable() {
  if (::unshare(CLONE_NEWNET) != 0) return 1;
  Fd there = sys::open("/proc/self/ns/net", O_RDONLY).take();
  const std::string path = strf("/proc/%d/fd/%d", ::getpid(), there.get());
  if (::unshare(CLONE_NEWNET) != 0) return 2;
  Fd here = sys::open("/proc/self/ns/net", O_RDONLY).take();
  const std::string cable =
      "ip link set lo up && ip link add va type veth peer name vb && ip link set vb netns " + path +
      " && ip link set va up && ip addr add 10.81.0.1/24 dev va";
  if (run(cable.c_str()) != 0 || ::setns(there.get(), CLONE_NEWNET) != 0) return 3;
  if (run("ip link set vb up && ip addr add 10.81.0.2/24 dev vb") != 0) return 4;
  const int out_there = receiver_at("10.81.0.2");
  const int from_there = sender();
  if (::setns(here.get(), CLONE_NEWNET) != 0) return 5;
  const int in_here = receiver_at("10.81.0.1");
  const int from_here = sender();

  const std::vector<uint8_t> families = {NFPROTO_INET};
  if (!arrives(from_there, "10.81.0.1", in_here)) return 10;
  if (is_network_closed().take()) return 11;
  if (!close_network(families).ok()) return 12;
  if (!is_network_closed().take()) return 13;
  if (arrives(from_there, "10.81.0.1", in_here)) return 14;
  if (arrives(from_here, "10.81.0.2", out_there)) return 15;
  if (!arrives(from_here, "10.81.0.1", in_here)) return 16;
  if (!open_network(families).ok()) return 17;
  if (is_network_closed().take()) return 18;
  if (!arrives(from_there, "10.81.0.1", in_here)) return 19;
  return arrives(from_here, "10.81.0.2", out_there) ? 0 : 20;
}

TEST(cr_closed_network, lets_nothing_pass_but_on_its_loopback) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_EQ(testing::in_child(two_ends_of_a_cable), 0);
}

TEST(cr_closed_network, is_closed_for_every_family_or_for_none) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_EQ(testing::in_child([] {
              if (::unshare(CLONE_NEWNET) != 0) return 1;
              const std::vector<uint8_t> families = {NFPROTO_INET, NFPROTO_ARP, NFPROTO_BRIDGE};
              if (!close_network(families).ok()) return 2;
              if (run("nft list tables | grep -q 'arp nativecr_closed'") != 0) return 3;
              if (!open_network(families).ok()) return 4;
              if (run("test -z \"$(nft list tables)\"") != 0) return 5;
              if (close_network({NFPROTO_INET, 77}).ok()) return 6;
              return is_network_closed().take() ? 7 : 0;
            }),
            0);
}

}  // namespace
}  // namespace ncr
