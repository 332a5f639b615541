#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "engine/base/fd.h"
#include "engine/resources/inet_socket/inet_address.h"
#include "engine/resources/inet_socket/inet_multicast.h"
#include "tests/engine/resources/round_trip.h"
#include "tests/support/checkpoint_test.h"

namespace ncr::inet_socket {
namespace {

using test::round_trip;

sockaddr_in6 loopback6(uint16_t port = 0) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  address.sin6_port = htons(port);
  return address;
}

sockaddr_in loopback(uint16_t port = 0) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

template <class Address>
Fd bound(int type, Address address) {
  Fd fd(::socket(reinterpret_cast<sockaddr*>(&address)->sa_family, type | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0)
      << strerror(errno);
  return fd;
}

std::string name_by(int (*call)(int, sockaddr*, socklen_t*), const Fd& fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (call(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return "none";
  return address_text(std::string(reinterpret_cast<char*>(&address), size));
}

int option(const Fd& fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd.get(), level, name, &value, &size), 0);
  return value;
}

void set(const Fd& fd, int level, int name, int value) {
  EXPECT_EQ(::setsockopt(fd.get(), level, name, &value, sizeof value), 0)
      << name << " " << strerror(errno);
}

template <class Address>
int connect_to(const Fd& fd, const Fd& where) {
  Address address{};
  socklen_t size = sizeof address;
  ::getsockname(where.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size);
}

// ---- Pure
// --------------------------------------------------------------------------------------------------------------

TEST(inet_address, text_names_address_and_port) {
  sockaddr_in four = loopback(80);
  EXPECT_EQ(address_text(std::string(reinterpret_cast<char*>(&four), sizeof four)), "127.0.0.1:80");
  sockaddr_in6 six = loopback6(443);
  EXPECT_EQ(address_text(std::string(reinterpret_cast<char*>(&six), sizeof six)), "[::1]:443");
}

TEST(inet_multicast, groups_of_the_machine_are_read_with_their_interface) {
  auto groups = parse_igmp(
      "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
      "1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"
      "2\teth0      :     2      V3\n\t\t\t\tFB0000E0     1 0:00000000\t\t0\n");
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[1].interface, 2u);
  EXPECT_EQ(groups[1].address, std::string("\xE0\x00\x00\xFB", 4));
  auto six =
      parse_igmp6("2    eth0            ff0200000000000000000000000000fb     1 0000000C 0\n");
  ASSERT_EQ(six.size(), 1u);
  EXPECT_EQ(six[0].interface, 2u);
  EXPECT_EQ(static_cast<unsigned char>(six[0].address[15]), 0xfb);
}

// ---- Dumped and made again
// ----------------------------------------------------------------------------------------------

TEST(inet_socket, udp_stays_bound_and_connected) {
  Fd server = bound(SOCK_DGRAM, loopback());
  Fd client = bound(SOCK_DGRAM, loopback());
  ASSERT_EQ(connect_to<sockaddr_in>(client, server), 0);
  std::string server_name = name_by(::getsockname, server);
  std::string client_name = name_by(::getsockname, client);
  ASSERT_EQ(round_trip({server.get(), client.get()}).error, "");
  EXPECT_EQ(name_by(::getsockname, server), server_name);
  EXPECT_EQ(name_by(::getsockname, client), client_name);
  EXPECT_EQ(name_by(::getpeername, client), server_name);
  EXPECT_EQ(name_by(::getpeername, server), "none");
  ASSERT_EQ(::send(client.get(), "ping", 4, 0), 4);
  char data[8];
  EXPECT_EQ(::recv(server.get(), data, sizeof data, 0), 4);
}

TEST(inet_socket, udp_over_ipv6_keeps_its_options) {
  Fd fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 33);
  set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  set(fd, SOL_SOCKET, SO_BROADCAST, 1);
  set(fd, SOL_SOCKET, SO_RCVBUF, 70000);
  sockaddr_in6 address = loopback6();
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  std::string name = name_by(::getsockname, fd);
  ASSERT_EQ(round_trip({fd.get()}).error, "");
  EXPECT_EQ(name_by(::getsockname, fd), name);
  EXPECT_EQ(option(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
  EXPECT_EQ(option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO), 1);
  EXPECT_EQ(option(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 33);
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_REUSEPORT), 1);
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_BROADCAST), 1);
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_RCVBUF), 140000);
}

TEST(inet_socket, multicast_groups_are_joined_again) {
  Fd fd = bound(SOCK_DGRAM, sockaddr_in{AF_INET, 0, {0}, {}});
  group_req request{};
  request.gr_interface = ::if_nametoindex("lo");
  request.gr_group = storage_of(std::string("\xE0\x01\x02\x03", 4));
  ASSERT_EQ(::setsockopt(fd.get(), IPPROTO_IP, MCAST_JOIN_GROUP, &request, sizeof request), 0)
      << strerror(errno);
  ASSERT_EQ(round_trip({fd.get()}).error, "");
  EXPECT_EQ(::setsockopt(fd.get(), IPPROTO_IP, MCAST_JOIN_GROUP, &request, sizeof request), -1);
  EXPECT_EQ(errno, EADDRINUSE);  // in it already
}

TEST(inet_socket, listener_listens_at_its_port_with_its_backlog_and_options) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 3);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 77);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  sockaddr_in address = loopback();
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(fd.get(), 37), 0);
  std::string name = name_by(::getsockname, fd);
  int deferred = option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT);
  ASSERT_EQ(round_trip({fd.get()}).error, "");
  EXPECT_EQ(name_by(::getsockname, fd), name);
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_REUSEADDR), 0);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), deferred);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 77);
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_NE(::fcntl(fd.get(), F_GETFL) & O_NONBLOCK, 0);
  tcp_info info{};
  socklen_t size = sizeof info;
  ASSERT_EQ(::getsockopt(fd.get(), IPPROTO_TCP, TCP_INFO, &info, &size), 0);
  EXPECT_EQ(info.tcpi_sacked, 37u);
}

TEST(inet_socket, listener_over_ipv6_accepts_again) {
  Fd fd = bound(SOCK_STREAM, loopback6());
  ASSERT_EQ(::listen(fd.get(), 5), 0);
  ASSERT_EQ(round_trip({fd.get()}).error, "");
  Fd client(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect_to<sockaddr_in6>(client, fd), 0) << strerror(errno);
}

TEST(inet_socket, tcp_socket_that_is_not_connected_can_connect) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(round_trip({fd.get()}).error, "");
  Fd listener = bound(SOCK_STREAM, loopback());
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  EXPECT_EQ(connect_to<sockaddr_in>(fd, listener), 0);
}

TEST(inet_socket, established_connection_is_refused_by_name) {
  Fd listener = bound(SOCK_STREAM, loopback());
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect_to<sockaddr_in>(client, listener), 0);
  auto result = round_trip({client.get()});
  EXPECT_NE(result.error.find("is kept by a dump of a whole tree only"), std::string::npos)
      << result.error;
}

TEST(inet_socket, an_address_that_is_not_of_this_machine_is_bound_again) {
  sockaddr_in6 elsewhere = loopback6(4711);
  ASSERT_EQ(::inet_pton(AF_INET6, "2001:db8::ff00:42:8329", &elsewhere.sin6_addr), 1);
  Fd fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr int kFreeBind = 78;  // IPV6_FREEBIND
  set(fd, IPPROTO_IPV6, kFreeBind, 1);
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&elsewhere), sizeof elsewhere), 0);
  set(fd, IPPROTO_IPV6, kFreeBind, 0);
  const std::string name = name_by(::getsockname, fd);
  ASSERT_EQ(round_trip({fd.get()}).error, "");
  EXPECT_EQ(name_by(::getsockname, fd), name);
  EXPECT_EQ(option(fd, IPPROTO_IPV6, kFreeBind), 0);
}

TEST(inet_socket, a_port_that_was_shared_and_is_reused_by_one_alone_is_shared_again) {
  Fd one(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Fd two(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback();
  socklen_t size = sizeof address;
  for (const Fd* fd : {&one, &two}) {
    set(*fd, SOL_SOCKET, SO_REUSEPORT, 1);
    ASSERT_EQ(::bind(fd->get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(fd->get(), 1), 0);
    ASSERT_EQ(::getsockname(fd->get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  }
  set(one, SOL_SOCKET, SO_REUSEPORT, 0);
  ASSERT_EQ(round_trip({one.get(), two.get()}).error, "");
  EXPECT_EQ(option(one, SOL_SOCKET, SO_REUSEPORT), 0);
  EXPECT_EQ(option(two, SOL_SOCKET, SO_REUSEPORT), 1);
  EXPECT_EQ(name_by(::getsockname, one), name_by(::getsockname, two));
}

TEST(inet_socket, port_that_is_taken_is_named) {
  Fd fd = bound(SOCK_STREAM, loopback());
  ASSERT_EQ(::listen(fd.get(), 5), 0);
  Fd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  auto result = round_trip({fd.get()});
  EXPECT_NE(result.error.find("is taken by another process"), std::string::npos) << result.error;
}

// ---- Whole checkpoints
// --------------------------------------------------------------------------------------------------

CR_TEST(inet_socket, raw_sockets_keep_protocol_address_and_filter) {
  Fd raw(MUST(SYSCALL(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP), "socket")));
  sockaddr_in address = loopback();
  ASSERT_EQ(::bind(raw.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const int on = 1;
  ASSERT_EQ(::setsockopt(raw.get(), IPPROTO_IP, IP_HDRINCL, &on, sizeof on), 0);
  const int filter = 1 << 13;
  ASSERT_EQ(::setsockopt(raw.get(), IPPROTO_RAW, 1, &filter, sizeof filter), 0);
  Fd unbound(MUST(SYSCALL(::socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, 89), "socket")));
  checkpoint_restore();
  EXPECT_EQ(option(raw, SOL_SOCKET, SO_PROTOCOL), IPPROTO_ICMP);
  EXPECT_EQ(option(raw, IPPROTO_IP, IP_HDRINCL), 1);
  EXPECT_EQ(option(raw, IPPROTO_RAW, 1), filter);
  EXPECT_EQ(name_by(::getsockname, raw).substr(0, 10), "127.0.0.1:");
  EXPECT_EQ(option(unbound, SOL_SOCKET, SO_PROTOCOL), 89);
  EXPECT_EQ(name_by(::getsockname, unbound).substr(0, 5), "[::]:");
}

CR_TEST(inet_socket, an_icmp_socket_still_gets_its_echo) {
  Fd ping(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP));
  if (!ping.valid()) return;  // ping_group_range
  sockaddr_in address = loopback(4321);
  ASSERT_EQ(::bind(ping.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  checkpoint_restore();
  EXPECT_EQ(name_by(::getsockname, ping), "127.0.0.1:4321");
  unsigned char request[8] = {8};
  address = loopback();
  ASSERT_EQ(::sendto(ping.get(), request, sizeof request, 0, reinterpret_cast<sockaddr*>(&address),
                     sizeof address),
            static_cast<ssize_t>(sizeof request));
  unsigned char reply[8] = {};
  EXPECT_EQ(::recv(ping.get(), reply, sizeof reply, 0), static_cast<ssize_t>(sizeof reply));
  EXPECT_EQ(reply[0], 0) << "an echo reply";
}

CR_TEST(inet_socket, what_was_shut_down_of_a_udp_socket_stays_shut) {
  Fd writer = bound(SOCK_DGRAM, loopback());
  Fd reader = bound(SOCK_DGRAM, loopback());
  sockaddr_in to{};
  socklen_t size = sizeof to;
  ASSERT_EQ(::getsockname(reader.get(), reinterpret_cast<sockaddr*>(&to), &size), 0);
  ASSERT_EQ(::connect(writer.get(), reinterpret_cast<sockaddr*>(&to), size), 0);
  ASSERT_EQ(::shutdown(writer.get(), SHUT_WR), 0);
  ASSERT_EQ(::shutdown(reader.get(), SHUT_RD), -1)
      << "it is not connected, and is shut all the same";
  checkpoint_restore();
  EXPECT_EQ(::send(writer.get(), "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, EPIPE);
  pollfd shut{reader.get(), POLLRDHUP, 0};
  EXPECT_EQ(::poll(&shut, 1, 0), 1);
}

CR_TEST_WITH(inet_socket, a_datagram_in_the_making_is_refused_by_name,
             .refused_with = "it holds back a datagram") {
  Fd reader = bound(SOCK_DGRAM, loopback());
  Fd writer = bound(SOCK_DGRAM, loopback());
  sockaddr_in to{};
  socklen_t size = sizeof to;
  ASSERT_EQ(::getsockname(reader.get(), reinterpret_cast<sockaddr*>(&to), &size), 0);
  ASSERT_EQ(::connect(writer.get(), reinterpret_cast<sockaddr*>(&to), size), 0);
  const int on = 1;
  ASSERT_EQ(::setsockopt(writer.get(), IPPROTO_UDP, 1, &on, sizeof on), 0);
  ASSERT_EQ(::send(writer.get(), "part", 4, 0), 4);
  checkpoint_restore();
}

CR_TEST(inet_socket, listener_shared_by_fork_accepts_in_the_child) {
  Fd listener = bound(SOCK_STREAM, loopback());
  ASSERT_EQ(::listen(listener.get(), 5), 0);
  std::string name = name_by(::getsockname, listener);
  pid_t child = ::fork();
  if (child == 0) {
    Fd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ::_exit(::send(server.get(), "welcome", 7, 0) == 7 ? 5 : 1);
  }
  checkpoint_restore();
  EXPECT_EQ(name_by(::getsockname, listener), name);
  Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect_to<sockaddr_in>(client, listener), 0);
  char data[16];
  EXPECT_EQ(::recv(client.get(), data, sizeof data, 0), 7);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 5);
}

CR_TEST(inet_socket, udp_pair_goes_on) {
  Fd server = bound(SOCK_DGRAM, loopback6());
  Fd client(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect_to<sockaddr_in6>(client, server), 0);
  std::string name = name_by(::getsockname, client);
  checkpoint_restore();
  EXPECT_EQ(name_by(::getsockname, client), name);
  ASSERT_EQ(::send(client.get(), "ping", 4, 0), 4);
  char data[8];
  EXPECT_EQ(::recv(server.get(), data, sizeof data, 0), 4);
}

}  // namespace
}  // namespace ncr::inet_socket
