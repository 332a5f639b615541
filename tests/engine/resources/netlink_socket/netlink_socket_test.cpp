#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"

namespace ncr {
namespace {

Fd netlink(int protocol) {
  return Fd(MUST(SYSCALL(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), "socket")));
}

sockaddr_nl name_of(const Fd& socket) {
  sockaddr_nl name{};
  socklen_t size = sizeof name;
  EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &size), 0);
  return name;
}

void bind_to(const Fd& socket, uint32_t port, uint32_t groups) {
  sockaddr_nl name{};
  name.nl_family = AF_NETLINK;
  name.nl_pid = port;
  name.nl_groups = groups;
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
}

int option(const Fd& socket, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(socket.get(), SOL_NETLINK, name, &value, &size), 0);
  return value;
}

struct Question {
  nlmsghdr header{sizeof(Question), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 7, 0};
  rtgenmsg body{};
};

CR_TEST(netlink_socket, keeps_its_number_its_groups_and_its_options) {
  Fd socket = netlink(NETLINK_ROUTE);
  bind_to(socket, 4711, RTMGRP_LINK | RTMGRP_IPV4_IFADDR);
  const int group = RTNLGRP_NSID;
  const int on = 1;
  ASSERT_EQ(::setsockopt(socket.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group),
            0);
  ASSERT_EQ(::setsockopt(socket.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on), 0);
  checkpoint_restore();
  EXPECT_EQ(name_of(socket).nl_pid, 4711u);
  EXPECT_EQ(name_of(socket).nl_groups,
            static_cast<uint32_t>(RTMGRP_LINK | RTMGRP_IPV4_IFADDR) | 1u << (RTNLGRP_NSID - 1));
  EXPECT_EQ(option(socket, NETLINK_EXT_ACK), 1);
  EXPECT_EQ(option(socket, NETLINK_CAP_ACK), 0);
  Question question;
  ASSERT_EQ(::send(socket.get(), &question, sizeof question, 0),
            static_cast<ssize_t>(sizeof question));
  char answer[65536];
  EXPECT_GT(::recv(socket.get(), answer, sizeof answer, 0), 0) << "the kernel answers";
}

CR_TEST(netlink_socket, one_that_was_not_bound_and_one_that_is_connected) {
  Fd fresh = netlink(NETLINK_ROUTE);
  Fd listener = netlink(NETLINK_USERSOCK);
  bind_to(listener, 815, 0);
  Fd talker = netlink(NETLINK_USERSOCK);
  sockaddr_nl peer{};
  peer.nl_family = AF_NETLINK;
  peer.nl_pid = 815;
  ASSERT_EQ(::connect(talker.get(), reinterpret_cast<sockaddr*>(&peer), sizeof peer), 0);
  checkpoint_restore();
  EXPECT_EQ(name_of(fresh).nl_pid, 0u);
  nlmsghdr message{sizeof message, 0x1234, NLM_F_REQUEST, 1, 0};
  ASSERT_EQ(::send(talker.get(), &message, sizeof message, 0),
            static_cast<ssize_t>(sizeof message));
  nlmsghdr heard{};
  EXPECT_EQ(::recv(listener.get(), &heard, sizeof heard, MSG_DONTWAIT),
            static_cast<ssize_t>(sizeof heard));
  EXPECT_EQ(heard.nlmsg_type, 0x1234);
}

CR_TEST_WITH(netlink_socket, an_answer_that_was_not_read_is_refused_by_name,
             .refused_with = "messages of the kernel wait to be read") {
  Fd socket = netlink(NETLINK_ROUTE);
  Question question;
  ASSERT_EQ(::send(socket.get(), &question, sizeof question, 0),
            static_cast<ssize_t>(sizeof question));
  checkpoint_restore();
}

}  // namespace
}  // namespace ncr
