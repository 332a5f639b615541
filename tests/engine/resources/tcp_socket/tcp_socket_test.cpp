#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string>

#include "engine/resources/inet_socket/inet_look.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr::tcp_socket {
namespace {

sockaddr_in loopback(uint16_t port = 0) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

sockaddr_in6 loopback6(const in6_addr& host = in6addr_loopback) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = host;
  return address;
}

uint16_t port_of(int fd) {
  sockaddr_in6 address{};
  socklen_t size = sizeof address;
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin6_port);
}

int value_of(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &size), 0) << name;
  return value;
}

void set(int fd, int level, int name, int value) {
  EXPECT_EQ(::setsockopt(fd, level, name, &value, sizeof value), 0) << name << strerror(errno);
}

tcp_info info_of(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  EXPECT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
  return info;
}

void wait_for_state(int fd, int state) {
  for (int naps = 0; naps < 5000 && info_of(fd).tcpi_state != state; naps++) ::usleep(1000);
  EXPECT_EQ(inet_socket::state_name(info_of(fd).tcpi_state),
            inet_socket::state_name(static_cast<uint32_t>(state)));
}

// Both ends of a connection, and who accepted it.
struct Pair {
  int listener = -1;
  int client = -1;
  int server = -1;
};

template <class Address>
Pair connect_pair(Address address, int options(int fd) = nullptr) {
  auto* name = reinterpret_cast<sockaddr*>(&address);
  Pair pair;
  pair.listener = ::socket(name->sa_family, SOCK_STREAM, 0);
  if (options != nullptr) options(pair.listener);
  EXPECT_EQ(::bind(pair.listener, name, sizeof address), 0) << strerror(errno);
  EXPECT_EQ(::listen(pair.listener, 8), 0);
  socklen_t size = sizeof address;
  ::getsockname(pair.listener, name, &size);
  pair.client = ::socket(name->sa_family, SOCK_STREAM, 0);
  if (options != nullptr) options(pair.client);
  EXPECT_EQ(::connect(pair.client, name, size), 0) << strerror(errno);
  pair.server = ::accept(pair.listener, nullptr, nullptr);
  EXPECT_GE(pair.server, 0);
  return pair;
}

// A text that shows if bytes are lost, doubled or moved.
std::string pattern(size_t size, unsigned seed = 1) {
  std::string text(size, '\0');
  for (char& byte : text) {
    seed = seed * 1103515245 + 12345;
    byte = static_cast<char>(seed >> 16);
  }
  return text;
}

std::string receive(int fd, size_t size) {
  std::string text(size, '\0');
  size_t have = 0;
  while (have < size) {
    const ssize_t got = ::recv(fd, text.data() + have, size - have, 0);
    if (got <= 0) break;
    have += static_cast<size_t>(got);
  }
  text.resize(have);
  return text;
}

void send_all(int fd, const std::string& text) {
  for (size_t put = 0; put < text.size();) {
    const ssize_t sent = ::send(fd, text.data() + put, text.size() - put, MSG_NOSIGNAL);
    ASSERT_GT(sent, 0) << strerror(errno);
    put += static_cast<size_t>(sent);
  }
}

// As much as goes without waiting.
std::string stuff(int fd, unsigned seed) {
  const std::string text = pattern(32 << 20, seed);
  size_t put = 0;
  for (ssize_t sent = 0; put < text.size() && sent >= 0;
       put += static_cast<size_t>(std::max<ssize_t>(sent, 0)))
    sent = ::send(fd, text.data() + put, text.size() - put, MSG_DONTWAIT | MSG_NOSIGNAL);
  return text.substr(0, put);
}

void expect_talk(int a, int b) {
  for (const auto& [from, to] : {std::pair{a, b}, std::pair{b, a}}) {
    ASSERT_EQ(::send(from, "how are you", 11, MSG_NOSIGNAL), 11) << strerror(errno);
    EXPECT_EQ(receive(to, 11), "how are you");
  }
}

// ---- Refused by name
// --------------------------------------------------------------------------------------------------

CR_TEST_WITH(tcp_socket, connection_is_refused_unless_asked_for,
             .refused_with = "keep them (--tcp-established)") {
  Pair pair = connect_pair(loopback());
  checkpoint_restore();
  expect_talk(pair.client, pair.server);
}

CR_TEST_WITH(tcp_socket, connection_that_waits_to_be_accepted_is_refused, .tcp = TcpPolicy::kKeep,
             .refused_with = "1 connections wait to be accepted") {
  Pair pair = connect_pair(loopback());
  ::close(pair.server);
  ::close(pair.client);
  sockaddr_in address = loopback(port_of(pair.listener));
  int client = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  checkpoint_restore();
  int server = ::accept(pair.listener, nullptr, nullptr);
  expect_talk(client, server);
}

CR_TEST_WITH(tcp_socket, connection_in_flight_is_refused, .tcp = TcpPolicy::kKeep,
             .refused_with = "it is in flight in a unix socket") {
  Pair pair = connect_pair(loopback());
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  char byte = 'x';
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &pair.server, sizeof(int));
  ASSERT_EQ(::sendmsg(ends[0], &message, 0), 1);
  ::close(pair.server);
  checkpoint_restore();
}

CR_TEST_WITH(tcp_socket, urgent_data_is_refused, .tcp = TcpPolicy::kKeep,
             .refused_with = "urgent data that was not read") {
  Pair pair = connect_pair(loopback());
  ASSERT_EQ(::send(pair.client, "u", 1, MSG_OOB), 1);
  pollfd wait{pair.server, POLLPRI, 0};
  ASSERT_EQ(::poll(&wait, 1, 5000), 1);
  checkpoint_restore();
}

// ---- Both ends in the tree
// --------------------------------------------------------------------------------------------

CR_TEST_WITH(tcp_socket, connection_within_the_tree_goes_on, .tcp = TcpPolicy::kKeep) {
  Pair pair = connect_pair(loopback());
  const uint16_t port = port_of(pair.client);
  checkpoint_restore();
  EXPECT_EQ(port_of(pair.client), port);
  EXPECT_EQ(value_of(pair.client, SOL_SOCKET, SO_REUSEADDR), 0);
  expect_talk(pair.client, pair.server);
  // The listener takes others.
  sockaddr_in address = loopback(port_of(pair.listener));
  int another = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(::connect(another, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  expect_talk(another, ::accept(pair.listener, nullptr, nullptr));
}

CR_TEST_WITH(tcp_socket, no_packet_need_be_locked_out, .tcp = TcpPolicy::kKeep,
             .network_lock = NetworkLockMethod::kSkip) {
  Pair pair = connect_pair(loopback());
  send_all(pair.client, "before");
  checkpoint_restore();
  EXPECT_EQ(receive(pair.server, 6), "before");
  expect_talk(pair.client, pair.server);
}

CR_TEST_WITH(tcp_socket, ipv6_connection_goes_on, .tcp = TcpPolicy::kKeep) {
  Pair pair = connect_pair(loopback6());
  send_all(pair.client, "before");
  checkpoint_restore();
  EXPECT_EQ(receive(pair.server, 6), "before");
  expect_talk(pair.client, pair.server);
}

CR_TEST_WITH(tcp_socket, ipv4_connection_of_an_ipv6_socket_goes_on, .tcp = TcpPolicy::kKeep) {
  in6_addr mapped{};
  ASSERT_EQ(::inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped), 1);
  Pair pair = connect_pair(loopback6(mapped));
  send_all(pair.client, "before");
  checkpoint_restore();
  EXPECT_EQ(receive(pair.server, 6), "before");
  expect_talk(pair.client, pair.server);
}

CR_TEST_WITH(tcp_socket, queues_that_are_full_both_ways_lose_nothing, .tcp = TcpPolicy::kKeep) {
  Pair pair = connect_pair(loopback());
  const std::string there = stuff(pair.client, 1);
  const std::string back = stuff(pair.server, 2);
  checkpoint_restore();
  EXPECT_TRUE(receive(pair.server, there.size()) == there);
  EXPECT_TRUE(receive(pair.client, back.size()) == back);
  expect_talk(pair.client, pair.server);
}

CR_TEST_WITH(tcp_socket, segments_are_as_large_as_before, .tcp = TcpPolicy::kKeep) {
  for (Pair pair : {connect_pair(loopback()), connect_pair(loopback6())}) {
    expect_talk(pair.client, pair.server);
    const tcp_info before = info_of(pair.client);
    checkpoint_restore();
    const tcp_info after = info_of(pair.client);
    EXPECT_EQ(after.tcpi_snd_mss, before.tcpi_snd_mss);
    EXPECT_EQ(after.tcpi_options & 7, before.tcpi_options & 7);
    EXPECT_EQ(after.tcpi_snd_wscale, before.tcpi_snd_wscale);
    EXPECT_EQ(after.tcpi_rcv_wscale, before.tcpi_rcv_wscale);
  }
}

CR_TEST_WITH(tcp_socket, options_are_kept, .tcp = TcpPolicy::kKeep) {
  Pair pair = connect_pair(loopback(), [](int fd) {
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    return 0;
  });
  set(pair.client, IPPROTO_TCP, TCP_NODELAY, 1);
  set(pair.client, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(pair.client, IPPROTO_TCP, TCP_KEEPIDLE, 77);
  set(pair.client, IPPROTO_TCP, TCP_USER_TIMEOUT, 5555);
  set(pair.client, SOL_SOCKET, SO_SNDBUF, 70000);
  ASSERT_EQ(::setsockopt(pair.client, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
  ASSERT_EQ(::fcntl(pair.client, F_SETFL, O_NONBLOCK), 0);
  const int receive_buffer = value_of(pair.client, SOL_SOCKET, SO_RCVBUF);
  checkpoint_restore();
  EXPECT_EQ(value_of(pair.client, IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(value_of(pair.client, SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(value_of(pair.client, IPPROTO_TCP, TCP_KEEPIDLE), 77);
  EXPECT_EQ(value_of(pair.client, IPPROTO_TCP, TCP_USER_TIMEOUT), 5555);
  EXPECT_EQ(value_of(pair.client, SOL_SOCKET, SO_SNDBUF), 140000);
  EXPECT_EQ(value_of(pair.client, SOL_SOCKET, SO_RCVBUF), receive_buffer);
  EXPECT_EQ(value_of(pair.client, SOL_SOCKET, SO_REUSEADDR), 1);
  char name[16] = "";
  socklen_t size = sizeof name;
  ASSERT_EQ(::getsockopt(pair.client, IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
  EXPECT_STREQ(name, "reno");
  EXPECT_EQ(::fcntl(pair.client, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  EXPECT_EQ(::recv(pair.client, name, 1, 0), -1);
  EXPECT_EQ(errno, EAGAIN);
}

CR_TEST_WITH(tcp_socket, reader_that_waits_goes_on_waiting, .tcp = TcpPolicy::kKeep) {
  Pair pair = connect_pair(loopback());
  pid_t child = ::fork();
  if (child == 0) ::_exit(receive(pair.server, 5) == "hello" ? 3 : 1);
  ::close(pair.server);
  checkpoint_restore();
  EXPECT_EQ(::send(pair.client, "hello", 5, MSG_NOSIGNAL), 5);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

CR_TEST_WITH(tcp_socket, tree_that_runs_on_keeps_its_connections, .final_state = FinalState::kRun,
             .tcp = TcpPolicy::kKeep) {
  Pair pair = connect_pair(loopback(), [](int fd) {
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    return 0;
  });
  const std::string there = stuff(pair.client, 1);
  const std::string back = stuff(pair.server, 2);
  checkpoint_restore();
  EXPECT_EQ(value_of(pair.client, SOL_SOCKET, SO_REUSEADDR), 1);
  EXPECT_EQ(value_of(pair.client, IPPROTO_TCP, TCP_REPAIR), 0);
  EXPECT_TRUE(receive(pair.server, there.size()) == there);
  EXPECT_TRUE(receive(pair.client, back.size()) == back);
  expect_talk(pair.client, pair.server);
}

// ---- Half closed
// ------------------------------------------------------------------------------------------------------

CR_TEST_WITH(tcp_socket, half_closed_connection_stays_half_closed, .tcp = TcpPolicy::kKeep) {
  for (Pair pair : {connect_pair(loopback()), connect_pair(loopback6())}) {
    send_all(pair.client, "last words");
    ASSERT_EQ(::shutdown(pair.client, SHUT_WR), 0);
    wait_for_state(pair.client, inet_socket::kFinWait2);
    wait_for_state(pair.server, inet_socket::kCloseWait);
    checkpoint_restore();
    wait_for_state(pair.client, inet_socket::kFinWait2);
    wait_for_state(pair.server, inet_socket::kCloseWait);
    EXPECT_EQ(receive(pair.server, 100), "last words");
    EXPECT_EQ(::send(pair.client, "x", 1, MSG_NOSIGNAL), -1);
    EXPECT_EQ(errno, EPIPE);
    send_all(pair.server, "understood");
    ::close(pair.server);
    EXPECT_EQ(receive(pair.client, 100), "understood");
  }
}

CR_TEST_WITH(tcp_socket, connection_closed_by_both_with_bytes_to_send_loses_none,
             .tcp = TcpPolicy::kKeep) {
  Pair pair = connect_pair(loopback());
  const std::string sent = stuff(pair.server, 3);
  ASSERT_EQ(::shutdown(pair.server, SHUT_WR), 0);
  ASSERT_EQ(::shutdown(pair.client, SHUT_WR), 0);
  wait_for_state(pair.server, inet_socket::kClosing);
  checkpoint_restore();
  EXPECT_EQ(receive(pair.client, sent.size() + 1), sent);
  EXPECT_EQ(receive(pair.server, 1), "");
}

CR_TEST_WITH(tcp_socket, end_that_wants_to_read_no_more_does_not, .tcp = TcpPolicy::kKeep) {
  Pair pair = connect_pair(loopback());
  ASSERT_EQ(::shutdown(pair.client, SHUT_RD), 0);
  checkpoint_restore();
  char byte = 0;
  EXPECT_EQ(::recv(pair.client, &byte, 1, 0), 0);
  EXPECT_EQ(::send(pair.client, "x", 1, MSG_NOSIGNAL), 1);
  EXPECT_EQ(receive(pair.server, 1), "x");
}

CR_TEST_WITH(tcp_socket, ended_connection_reads_as_ended, .tcp = TcpPolicy::kKeep) {
  Pair pair = connect_pair(loopback());
  ASSERT_EQ(::shutdown(pair.client, SHUT_WR), 0);
  ASSERT_EQ(::shutdown(pair.server, SHUT_WR), 0);
  wait_for_state(pair.server, inet_socket::kClose);
  char byte = 0;
  ASSERT_EQ(::recv(pair.server, &byte, 1, 0), 0);
  checkpoint_restore();
  EXPECT_EQ(::recv(pair.server, &byte, 1, 0), 0);
  EXPECT_EQ(::recv(pair.client, &byte, 1, 0), 0);
  EXPECT_EQ(::send(pair.server, "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, EPIPE);
}

std::string name_by(int fd, int option) {
  sockaddr_storage name{};
  const int family = value_of(fd, SOL_SOCKET, SO_DOMAIN);
  socklen_t size = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  const int failed =
      option == 0 ? ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size)
                  : ::getsockopt(fd, SOL_SOCKET, option, reinterpret_cast<sockaddr*>(&name), &size);
  EXPECT_EQ(failed, 0) << strerror(errno);
  return std::string(reinterpret_cast<const char*>(&name), size);
}

// Ends it in order; what `unread` says is left at the client.
void end(const Pair& pair, const std::string& unread = "") {
  send_all(pair.server, unread);
  ASSERT_EQ(::shutdown(pair.client, SHUT_WR), 0);
  wait_for_state(pair.client, inet_socket::kFinWait2);
  ASSERT_EQ(::shutdown(pair.server, SHUT_WR), 0);
  wait_for_state(pair.client, inet_socket::kClose);
  wait_for_state(pair.server, inet_socket::kClose);
}

CR_TEST_WITH(tcp_socket, ended_connection_knows_between_whom_it_was) {
  in6_addr mapped{};
  ASSERT_EQ(::inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped), 1);
  const Pair pairs[] = {connect_pair(loopback()), connect_pair(loopback6()),
                        connect_pair(loopback6(mapped))};
  for (const Pair& pair : pairs) end(pair, "last words");
  for (const Pair& pair : pairs) {
    const std::string local = name_by(pair.client, 0);
    const std::string peer = name_by(pair.client, SO_PEERNAME);
    checkpoint_restore();
    EXPECT_EQ(info_of(pair.client).tcpi_state, inet_socket::kClose);
    EXPECT_EQ(name_by(pair.client, 0), local);
    EXPECT_EQ(name_by(pair.client, SO_PEERNAME), peer);
    EXPECT_EQ(name_by(pair.server, 0), peer);
    EXPECT_EQ(name_by(pair.server, SO_PEERNAME), local);
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    EXPECT_EQ(::getpeername(pair.client, reinterpret_cast<sockaddr*>(&name), &size), -1);
    EXPECT_EQ(errno, ENOTCONN);
    EXPECT_EQ(value_of(pair.client, SOL_SOCKET, SO_ERROR), 0);
    EXPECT_EQ(value_of(pair.client, IPPROTO_TCP, TCP_REPAIR), 0);
    EXPECT_EQ(receive(pair.client, 100), "last words");
    EXPECT_EQ(::send(pair.client, "x", 1, MSG_NOSIGNAL), -1);
    EXPECT_EQ(errno, EPIPE);
  }
}

CR_TEST_WITH(tcp_socket, port_of_an_ended_connection_is_its_listeners_too) {
  Pair pair = connect_pair(loopback());
  end(pair);
  const int listener = ::fcntl(pair.listener, F_DUPFD, 50);  // made again after the connection
  ::close(pair.listener);
  const std::string local = name_by(pair.server, 0);
  checkpoint_restore();
  EXPECT_EQ(name_by(pair.server, 0), local);
  EXPECT_EQ(name_by(listener, 0), local);
  EXPECT_EQ(value_of(pair.server, SOL_SOCKET, SO_REUSEADDR), 0);
  sockaddr_in address = loopback(port_of(listener));
  int another = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(::connect(another, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  expect_talk(another, ::accept(listener, nullptr, nullptr));
}

// Restored after the connections, by another process.
pid_t give_to_child(int fd) {
  const pid_t child = test::fork_child([] {
    for (;;) ::pause();
  });
  ::close(fd);
  return child;
}

void end_child(pid_t child) {
  EXPECT_EQ(::kill(child, SIGKILL), 0);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

// Nobody accepts: the kernel alone says yes.
void expect_a_listener_at(uint16_t port) {
  sockaddr_in address = loopback(port);
  const int another = ::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(::connect(another, reinterpret_cast<sockaddr*>(&address), sizeof address), 0)
      << strerror(errno);
  ::close(another);
}

CR_TEST_WITH(tcp_socket, another_process_listens_at_the_port_of_an_ended_connection) {
  Pair pair = connect_pair(loopback());
  end(pair, "last words");
  const uint16_t port = port_of(pair.listener);
  const pid_t child = give_to_child(pair.listener);
  const std::string local = name_by(pair.server, 0);
  const std::string peer = name_by(pair.server, SO_PEERNAME);
  checkpoint_restore();
  EXPECT_EQ(name_by(pair.server, 0), local);
  EXPECT_EQ(name_by(pair.server, SO_PEERNAME), peer);
  EXPECT_EQ(receive(pair.client, 100), "last words");
  expect_a_listener_at(port);
  end_child(child);
}

CR_TEST_WITH(tcp_socket, another_process_listens_at_the_port_of_a_connection,
             .tcp = TcpPolicy::kKeep) {
  Pair pair = connect_pair(loopback());
  const uint16_t port = port_of(pair.listener);
  const pid_t child = give_to_child(pair.listener);
  checkpoint_restore();
  expect_talk(pair.client, pair.server);
  expect_a_listener_at(port);
  end_child(child);
}

CR_TEST_WITH(tcp_socket, names_of_an_ended_connection_may_be_in_use_again,
             .tcp = TcpPolicy::kKeep) {
  Pair pair = connect_pair(loopback());
  ASSERT_EQ(::shutdown(pair.server, SHUT_WR), 0);
  wait_for_state(pair.server, inet_socket::kFinWait2);
  ASSERT_EQ(::shutdown(pair.client, SHUT_WR), 0);
  wait_for_state(pair.client, inet_socket::kClose);
  // The same two ends, again.
  sockaddr_in from = loopback(port_of(pair.client));
  sockaddr_in to = loopback(port_of(pair.listener));
  ::close(pair.server);
  int again = ::socket(AF_INET, SOCK_STREAM, 0);
  set(again, SOL_SOCKET, SO_REUSEADDR, 1);
  if (::bind(again, reinterpret_cast<sockaddr*>(&from), sizeof from) != 0 ||
      ::connect(again, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0)
    return;  // the kernel does not let us
  int server = ::accept(pair.listener, nullptr, nullptr);
  checkpoint_restore();
  expect_talk(again, server);
  EXPECT_EQ(receive(pair.client, 1), "");
}

CR_TEST_WITH(tcp_socket, connection_that_was_reset_knows_between_whom_it_was) {
  Pair pair = connect_pair(loopback());
  send_all(pair.server, "not read");
  const std::string peer = name_by(pair.client, SO_PEERNAME);
  const linger reset = {1, 0};
  ASSERT_EQ(::setsockopt(pair.server, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
  ::close(pair.server);
  wait_for_state(pair.client, inet_socket::kClose);
  checkpoint_restore();
  EXPECT_EQ(info_of(pair.client).tcpi_state, inet_socket::kClose);
  EXPECT_EQ(name_by(pair.client, SO_PEERNAME), peer);
}

CR_TEST_WITH(tcp_socket, socket_that_was_shut_before_it_connected_stays_bound) {
  int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = loopback();
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const uint16_t port = port_of(fd);
  EXPECT_EQ(::shutdown(fd, SHUT_RDWR), -1);
  checkpoint_restore();
  EXPECT_EQ(port_of(fd), port);
  EXPECT_EQ(receive(fd, 1), "");
}

// ---- Closed on demand
// ------------------------------------------------------------------------------------------------

CR_TEST_WITH(tcp_socket, connection_comes_back_closed_if_asked, .tcp = TcpPolicy::kClose) {
  Pair pair = connect_pair(loopback());
  send_all(pair.client, "lost");
  checkpoint_restore();
  char byte = 0;
  EXPECT_EQ(::recv(pair.server, &byte, 1, 0), 0);
  EXPECT_EQ(::send(pair.client, "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, EPIPE);
  // The listener is as before.
  sockaddr_in address = loopback(port_of(pair.listener));
  int another = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(::connect(another, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  expect_talk(another, ::accept(pair.listener, nullptr, nullptr));
}

CR_TEST_WITH(tcp_socket, connection_that_waits_to_be_accepted_is_dropped_if_asked, .cycles = 1,
             .tcp = TcpPolicy::kKeep, .tcp_skip_in_flight = true) {
  Pair pair = connect_pair(loopback());
  sockaddr_in address = loopback(port_of(pair.listener));
  int client = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  checkpoint_restore();
  expect_talk(pair.client, pair.server);
  EXPECT_EQ(::fcntl(pair.listener, F_SETFL, O_NONBLOCK), 0);
  EXPECT_EQ(::accept(pair.listener, nullptr, nullptr), -1);
  EXPECT_EQ(errno, EAGAIN);
}

// ---- The peer outside the tree
// ----------------------------------------------------------------------------------------

uint16_t outside_port;

// Sends back what it gets until its peer is done; then a last word.
void echo(int listener) {
  int fd = ::accept(listener, nullptr, nullptr);
  std::string buffer(1 << 20, '\0');
  for (ssize_t got; (got = ::recv(fd, buffer.data(), buffer.size(), 0)) > 0;)
    for (ssize_t put = 0, sent = 0; put < got; put += sent) {
      sent = ::send(fd, buffer.data() + put, static_cast<size_t>(got - put), MSG_NOSIGNAL);
      if (sent < 0) ::_exit(9);
    }
  (void)!::send(fd, "bye", 3, MSG_NOSIGNAL);
}

// Runs `body` in a tree that `outside` is not of; it has a listener at outside_port.
void run_beside(void outside(int listener), test::Body body) {
  int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = loopback();
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 4), 0);
  outside_port = port_of(listener);
  pid_t server = test::fork_child([&] { outside(listener); });
  ::close(listener);
  test::Options options;
  options.tcp = TcpPolicy::kKeep;
  test::run_checkpoint_test(body, options);
  ::kill(server, SIGKILL);
  ::waitpid(server, nullptr, 0);
}

int connect_outside() {
  int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = loopback(outside_port);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return fd;
}

TEST(cr_tcp_socket, peer_outside_the_tree_notices_nothing) {
  run_beside(echo, [] {
    int fd = connect_outside();
    const std::string text = pattern(3 << 20);
    for (int round = 0; round < 3; round++) {
      // What was sent comes back while nobody is there to take it.
      send_all(fd, text.substr(0, 200 << 10));
      checkpoint_restore();
      EXPECT_TRUE(receive(fd, 200 << 10) == text.substr(0, 200 << 10));
    }
    ASSERT_EQ(::shutdown(fd, SHUT_WR), 0);
    checkpoint_restore();
    EXPECT_EQ(receive(fd, 100), "bye");
  });
}

TEST(cr_tcp_socket, peer_outside_that_does_not_read_gets_all_of_it_later) {
  run_beside(
      [](int listener) {
        int fd = ::accept(listener, nullptr, nullptr);
        // Not before the other end is done: then its window has long been full.
        pollfd end{fd, POLLRDHUP, 0};
        for (char byte; ::recv(fd, &byte, 1, MSG_PEEK) == 1 && byte != 'g';) ::usleep(1000);
        std::string all;
        std::string buffer(1 << 20, '\0');
        ::usleep(500'000);
        for (ssize_t got; (got = ::recv(fd, buffer.data(), buffer.size(), 0)) > 0;)
          all.append(buffer.data(), static_cast<size_t>(got));
        (void)::poll(&end, 1, 0);
        const std::string expected = "g" + pattern(32 << 20, 7).substr(0, all.size() - 1);
        (void)!::send(fd, all == expected ? "same" : "else", 4, MSG_NOSIGNAL);
        (void)!::send(fd, &buffer[0], 0, 0);
      },
      [] {
        int fd = connect_outside();
        send_all(fd, "g");
        const std::string sent = stuff(fd, 7);
        EXPECT_GT(sent.size(), 100u << 10);
        checkpoint_restore();
        ASSERT_EQ(::shutdown(fd, SHUT_WR), 0);
        EXPECT_EQ(receive(fd, 4), "same");
      });
}

TEST(cr_tcp_socket, peer_outside_that_has_closed_its_half_is_answered) {
  run_beside(
      [](int listener) {
        int fd = ::accept(listener, nullptr, nullptr);
        (void)!::send(fd, "question", 8, 0);
        ::shutdown(fd, SHUT_WR);
        if (receive(fd, 6) == "answer") (void)!::write(-1, "", 0);
      },
      [] {
        int fd = connect_outside();
        wait_for_state(fd, inet_socket::kCloseWait);
        checkpoint_restore();
        EXPECT_EQ(receive(fd, 100), "question");
        send_all(fd, "answer");
        ASSERT_EQ(::shutdown(fd, SHUT_WR), 0);
        wait_for_state(fd, inet_socket::kClose);
      });
}

TEST(cr_tcp_socket, connect_that_was_under_way_is_begun_anew) {
  test::Options options;
  options.tcp = TcpPolicy::kKeep;
  options.tcp_skip_in_flight = true;
  options.cycles = 1;
  test::run_checkpoint_test(
      [] {
        // A listener whose queue is full leaves the handshake unanswered.
        int listener = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address = loopback();
        ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        ASSERT_EQ(::listen(listener, 0), 0);
        address.sin_port = htons(port_of(listener));
        int first = ::socket(AF_INET, SOCK_STREAM, 0);
        ASSERT_EQ(::connect(first, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        int second = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        ASSERT_EQ(::connect(second, reinterpret_cast<sockaddr*>(&address), sizeof address), -1);
        ASSERT_EQ(errno, EINPROGRESS);
        wait_for_state(second, inet_socket::kSynSent);
        const uint16_t port = port_of(second);
        checkpoint_restore();
        EXPECT_EQ(port_of(second), port);
        pollfd wait{second, POLLOUT, 0};
        ASSERT_EQ(::poll(&wait, 1, 10'000), 1);
        EXPECT_EQ(value_of(second, SOL_SOCKET, SO_ERROR), 0);
        expect_talk(second, ::accept(listener, nullptr, nullptr));
      },
      options);
}

}  // namespace
}  // namespace ncr::tcp_socket
