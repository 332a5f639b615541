// TCP connections within a test, on the loopback.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "engine/resources/inet_socket/inet_look.h"
#include "tests/support/checkpoint_test.h"

namespace ncr::tcp_socket {

inline sockaddr_in loopback(uint16_t port = 0) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

inline sockaddr_in6 loopback6(const in6_addr& host = in6addr_loopback) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = host;
  return address;
}

inline uint16_t port_of(int fd) {
  sockaddr_in6 address{};
  socklen_t size = sizeof address;
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin6_port);
}

inline int value_of(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &size), 0) << name;
  return value;
}

inline void set(int fd, int level, int name, int value) {
  EXPECT_EQ(::setsockopt(fd, level, name, &value, sizeof value), 0) << name << strerror(errno);
}

inline tcp_info info_of(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  EXPECT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
  return info;
}

inline void wait_for_state(int fd, int state) {
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
inline Pair connect_pair(Address address, int options(int fd) = nullptr) {
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
inline std::string pattern(size_t size, unsigned seed = 1) {
  std::string text(size, '\0');
  for (char& byte : text) {
    seed = seed * 1103515245 + 12345;
    byte = static_cast<char>(seed >> 16);
  }
  return text;
}

inline std::string receive(int fd, size_t size) {
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

inline void send_all(int fd, const std::string& text) {
  for (size_t put = 0; put < text.size();) {
    const ssize_t sent = ::send(fd, text.data() + put, text.size() - put, MSG_NOSIGNAL);
    ASSERT_GT(sent, 0) << strerror(errno);
    put += static_cast<size_t>(sent);
  }
}

// As much as goes without waiting.
inline std::string stuff(int fd, unsigned seed) {
  const std::string text = pattern(32 << 20, seed);
  size_t put = 0;
  for (ssize_t sent = 0; put < text.size() && sent >= 0;
       put += static_cast<size_t>(std::max<ssize_t>(sent, 0)))
    sent = ::send(fd, text.data() + put, text.size() - put, MSG_DONTWAIT | MSG_NOSIGNAL);
  return text.substr(0, put);
}

inline void expect_talk(int a, int b) {
  for (const auto& [from, to] : {std::pair{a, b}, std::pair{b, a}}) {
    ASSERT_EQ(::send(from, "how are you", 11, MSG_NOSIGNAL), 11) << strerror(errno);
    EXPECT_EQ(receive(to, 11), "how are you");
  }
}

// ---- Refused by name
// --------------------------------------------------------------------------------------------------

}  // namespace ncr::tcp_socket
