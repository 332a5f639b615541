#include "engine/resources/tcp_socket/ended.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "engine/resources/inet_socket/inet_look.h"

namespace ncr::tcp_socket {
namespace {

schema::TcpSocket ended(int family, std::string unread) {
  schema::TcpSocket record;
  record.mutable_socket()->set_family(static_cast<uint32_t>(family));
  record.mutable_receive()->set_data(std::move(unread));
  return record;
}

TEST(ended_connection, reads_as_ended) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_TRUE(make_ended(socket, ended(AF_INET, "")).ok());
  char byte = 0;
  EXPECT_EQ(::recv(socket.get(), &byte, 1, 0), 0);
  EXPECT_EQ(::send(socket.get(), "x", 1, MSG_NOSIGNAL), -1);
}

TEST(ended_connection, what_was_not_read_comes_first) {
  const std::string unread(1 << 20, 'u');
  for (int family : {AF_INET, AF_INET6}) {
    Fd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    Result<> made = make_ended(socket, ended(family, unread));
    ASSERT_TRUE(made.ok()) << made.error().text();
    EXPECT_EQ(inet_socket::look_at_tcp(socket).value().state, inet_socket::kClose);
    schema::TcpSocket again;
    ASSERT_TRUE(read_ended(socket, &again).ok());
    EXPECT_TRUE(again.receive().data() == unread);
    std::string read(unread.size() + 1, '\0');
    EXPECT_EQ(::recv(socket.get(), read.data(), read.size(), MSG_WAITALL),
              static_cast<ssize_t>(unread.size()));
    EXPECT_EQ(::recv(socket.get(), read.data(), 1, 0), 0);
    EXPECT_EQ(::send(socket.get(), "x", 1, MSG_NOSIGNAL), -1);
  }
}

}  // namespace
}  // namespace ncr::tcp_socket
