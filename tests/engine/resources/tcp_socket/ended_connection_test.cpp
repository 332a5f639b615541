// Connections that have ended, of which there still is a descriptor.
#include <fcntl.h>
#include <sys/wait.h>

#include <csignal>

#include "tests/engine/resources/tcp_socket/tcp_pairs.h"
#include "tests/support/child_process.h"

namespace ncr::tcp_socket {
namespace {

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

}  // namespace
}  // namespace ncr::tcp_socket
