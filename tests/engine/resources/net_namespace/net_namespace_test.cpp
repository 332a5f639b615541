#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/net_namespace/fresh_net.h"
#include "tests/support/checkpoint_test.h"

namespace ncr::net_namespace {
namespace {

void must_run(const std::string& command) { ASSERT_EQ(run(command), 0) << command; }

sockaddr_in address_of(const char* text, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, text, &address.sin_addr);
  return address;
}

Fd socket_at(int type, const char* text, uint16_t port) {
  Fd fd(MUST(SYSCALL(::socket(AF_INET, type, 0), "socket")));
  sockaddr_in address = address_of(text, port);
  MUST(SYSCALL(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), "bind"));
  return fd;
}

// A client that the server has not seen before is served.
void expect_served(const Fd& server, const char* text, uint16_t port) {
  Fd client(MUST(SYSCALL(::socket(AF_INET, SOCK_STREAM, 0), "socket")));
  sockaddr_in address = address_of(text, port);
  MUST(SYSCALL(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address),
               "connect"));
  Fd accepted(MUST(SYSCALL(::accept4(server.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept")));
  EXPECT_EQ(::send(client.get(), "hello", 5, 0), 5);
  char bytes[8];
  EXPECT_EQ(::recv(accepted.get(), bytes, sizeof bytes, 0), 5);
}

CR_TEST(net_namespace, servers_on_addresses_of_its_own_are_reached_again) {
  MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  must_run(std::string(kQuick) +
           "ip link set lo up && ip link add va index 44 type veth peer name vb && "
           "ip link set va up && ip link set vb up && ip addr add 10.77.0.1/24 dev va");
  Fd on_lo = socket_at(SOCK_STREAM, "127.0.0.1", 7001);
  Fd on_veth = socket_at(SOCK_STREAM, "10.77.0.1", 7002);
  Fd datagrams = socket_at(SOCK_DGRAM, "10.77.0.1", 7003);
  MUST(SYSCALL(::listen(on_lo.get(), 5), "listen"));
  MUST(SYSCALL(::listen(on_veth.get(), 5), "listen"));
  checkpoint_restore();
  expect_served(on_lo, "127.0.0.1", 7001);
  expect_served(on_veth, "10.77.0.1", 7002);
  sockaddr_in to = address_of("10.77.0.1", 7003);
  EXPECT_EQ(::sendto(datagrams.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 1);
  char byte = 0;
  EXPECT_EQ(::recv(datagrams.get(), &byte, 1, 0), 1);
  EXPECT_EQ(::if_nametoindex("va"), 44u);
}

CR_TEST(net_namespace, sysctls_routes_and_rules_come_along) {
  MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  must_run(
      "ip link set lo up && echo 80 >/proc/sys/net/ipv4/ip_unprivileged_port_start && "
      "echo 1 >/proc/sys/net/ipv4/ip_forward && ip route add 10.66.0.0/16 dev lo && "
      "ip rule add fwmark 9 lookup 99");
  checkpoint_restore();
  must_run(
      "test $(cat /proc/sys/net/ipv4/ip_unprivileged_port_start) = 80 && "
      "test $(cat /proc/sys/net/ipv4/ip_forward) = 1 && ip route | grep -q 10.66.0.0/16 && "
      "ip rule | grep -q 'fwmark 0x9 lookup 99'");
}

CR_TEST(net_namespace, unix_sockets_of_another_namespace_keep_their_peers) {
  MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  int ends[2];
  MUST(SYSCALL(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair"));
  ASSERT_EQ(::send(ends[0], "kept", 4, 0), 4);
  checkpoint_restore();
  char bytes[8];
  EXPECT_EQ(::recv(ends[1], bytes, sizeof bytes, 0), 4);
  EXPECT_EQ(::send(ends[1], "back", 4, 0), 4);
  EXPECT_EQ(::recv(ends[0], bytes, sizeof bytes, 0), 4);
}

// va is in this namespace, its other end vb in another one of the tree.
void check_veth_between_two_namespaces(int more_sockets) {
  MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  must_run(std::string(kQuick) +
           "ip link add va type veth peer name vb && ip link set va up && "
           "ip addr add 10.78.0.1/24 dev va");
  Fd heard = socket_at(SOCK_DGRAM, "10.78.0.1", 7004);
  std::vector<Fd> others;
  for (int i = 0; i < more_sockets; i++) others.push_back(socket_at(SOCK_DGRAM, "10.78.0.1", 0));
  test::checkpoint_beside(
      [] {
        Fd first = MUST(sys::open("/proc/self/ns/net", O_RDONLY));
        MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
        Fd second = MUST(sys::open("/proc/self/ns/net", O_RDONLY));
        MUST(SYSCALL(::setns(first.get(), CLONE_NEWNET), "setns"));
        must_run("ip link set vb netns " + strf("/proc/%d/fd/%d", ::getpid(), second.get()));
        MUST(SYSCALL(::setns(second.get(), CLONE_NEWNET), "setns"));
        must_run("ip link set vb up && ip addr add 10.78.0.2/24 dev vb");
      },
      [] {
        Fd speaker = socket_at(SOCK_DGRAM, "10.78.0.2", 0);
        sockaddr_in to = address_of("10.78.0.1", 7004);
        EXPECT_EQ(::sendto(speaker.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to),
                  1);
      });
  const timeval patience{5, 0};
  ::setsockopt(heard.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  char byte = 0;
  EXPECT_EQ(::recv(heard.get(), &byte, 1, 0), 1);
}

CR_TEST(net_namespace, a_veth_between_two_namespaces_of_the_tree) {
  check_veth_between_two_namespaces(0);
}

// The thread that looks at them is in their namespace most of the time, while others look at links.
CR_TEST(net_namespace, a_veth_between_two_namespaces_one_of_which_has_many_sockets) {
  check_veth_between_two_namespaces(300);
}

}  // namespace
}  // namespace ncr::net_namespace
