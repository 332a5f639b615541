#include <fcntl.h>
#include <sys/wait.h>

#include <csignal>

#include "tests/engine/resources/tcp_socket/tcp_pairs.h"
#include "tests/support/child_process.h"

namespace ncr::tcp_socket {
namespace {

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
