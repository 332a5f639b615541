#include "engine/base/netlink.h"

#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sched.h>
#include <sys/socket.h>

#include "tests/engine/resources/in_child.h"

namespace ncr::netlink {
namespace {

std::string message(uint16_t type, uint16_t flags, uint32_t sequence, const std::string& body) {
  nlmsghdr header{};
  header.nlmsg_len = static_cast<uint32_t>(sizeof header + body.size());
  header.nlmsg_type = type;
  header.nlmsg_flags = flags;
  header.nlmsg_seq = sequence;
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) + body;
}

std::string number(int32_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }

TEST(netlink, attributes_come_back_as_they_were_put) {
  Request request(RTM_NEWLINK, NLM_F_CREATE);
  request.header(uint32_t{7});
  request.put_text(3, "eth0").put_value(4, uint32_t{1500});
  size_t nest = request.nest(18);
  request.put(1, "veth");
  request.end(nest);
  std::string bytes = request.finish(9, NLM_F_ACK);

  std::vector<Reply> replies;
  bool interrupted = false;
  EXPECT_FALSE(take_apart(bytes, 9, &replies, &interrupted).take());
  ASSERT_EQ(replies.size(), 1u);
  std::string_view attributes = replies[0].attributes(4);
  EXPECT_EQ(replies[0].header<uint32_t>(), 7u);
  EXPECT_EQ(Attributes::find(attributes, 3).text(), "eth0");
  EXPECT_EQ(Attributes::find(attributes, 4).u32(), 1500u);
  Attribute inner = Attributes::find(attributes, 18);
  EXPECT_EQ(inner.flags, NLA_F_NESTED);
  EXPECT_EQ(Attributes::find(inner.value, 1).value, "veth");
  EXPECT_FALSE(Attributes::has(attributes, 5));
}

TEST(netlink, the_walk_ends_at_an_attribute_that_does_not_fit) {
  for (std::string bytes :
       {std::string("\x08"), std::string("\x03\0\x01\0", 4), std::string("\x0c\0\x01\0abcd", 8)}) {
    Attributes walk(bytes);
    Attribute attribute;
    EXPECT_FALSE(walk.next(&attribute));
    EXPECT_FALSE(walk.whole());
  }
}

TEST(netlink, an_error_is_told_in_the_kernels_words) {
  nlmsgerr error{};
  error.error = -EEXIST;
  std::string body(reinterpret_cast<const char*>(&error), sizeof error);
  nlattr words{4 + 6, NLMSGERR_ATTR_MSG};
  body +=
      std::string(reinterpret_cast<const char*>(&words), sizeof words) + std::string("taken\0", 6);
  std::vector<Reply> replies;
  bool interrupted = false;
  Result<bool> done = take_apart(message(NLMSG_ERROR, NLM_F_ACK_TLVS | NLM_F_CAPPED, 1, body), 1,
                                 &replies, &interrupted);
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().os_error(), EEXIST);
  EXPECT_NE(done.error().text().find("taken"), std::string::npos);
}

TEST(netlink, a_listing_ends_with_its_code_and_tells_when_it_changed) {
  std::vector<Reply> replies;
  bool interrupted = false;
  std::string two =
      message(RTM_NEWADDR, NLM_F_DUMP_INTR, 2, "abcd") + message(RTM_NEWADDR, 0, 1, "late");
  EXPECT_FALSE(take_apart(two, 2, &replies, &interrupted).take());
  EXPECT_EQ(replies.size(), 1u);
  EXPECT_TRUE(interrupted);
  EXPECT_TRUE(take_apart(message(NLMSG_DONE, 0, 2, number(0)), 2, &replies, &interrupted).take());
  EXPECT_FALSE(
      take_apart(message(NLMSG_DONE, 0, 2, number(-EINVAL)), 2, &replies, &interrupted).ok());
}

TEST(netlink, a_damaged_datagram_is_an_error) {
  std::vector<Reply> replies;
  bool interrupted = false;
  std::string whole = message(NLMSG_ERROR, 0, 1, std::string(sizeof(nlmsgerr), '\0'));
  EXPECT_TRUE(take_apart(whole, 1, &replies, &interrupted).take());
  for (size_t size = 1; size < whole.size(); size++)
    EXPECT_FALSE(take_apart(whole.substr(0, size), 1, &replies, &interrupted).ok()) << size;
}

TEST(netlink, the_kernel_lists_our_links) {
  Result<Socket> socket = Socket::open(NETLINK_ROUTE);
  ASSERT_TRUE(socket.ok());
  Request request(RTM_GETLINK, 0);
  request.header(ifinfomsg{});
  Result<std::vector<Reply>> links = socket.value().list(request, "links");
  ASSERT_TRUE(links.ok());
  bool found = false;
  for (const Reply& link : links.value())
    found |= Attributes::find(link.attributes(sizeof(ifinfomsg)), IFLA_IFNAME).text() == "lo";
  EXPECT_TRUE(found);
}

TEST(cr_netlink, a_question_is_asked_where_a_socket_lives) {
  EXPECT_EQ(
      ncr::testing::in_child([] {
        if (::unshare(CLONE_NEWNET) != 0) return 2;
        Fd there(::socket(AF_INET, SOCK_DGRAM, 0));
        if (::unshare(CLONE_NEWNET) != 0) return 3;
        Result<Socket> beside = Socket::open_beside(there, NETLINK_ROUTE);
        if (!beside.ok()) return 4;
        Request up(RTM_NEWLINK, 0);
        ifinfomsg lo{};
        lo.ifi_index = 1;
        lo.ifi_flags = lo.ifi_change = 1;  // IFF_UP
        if (!beside.value().run(up.header(lo), "lo").ok()) return 5;
        auto is_up = [](Socket& socket) {
          Request get(RTM_GETLINK, 0);
          ifinfomsg link{};
          link.ifi_index = 1;
          return (socket.get(get.header(link), "lo").take().header<ifinfomsg>().ifi_flags & 1) != 0;
        };
        Socket here = Socket::open(NETLINK_ROUTE).take();
        if (!is_up(beside.value())) return 6;
        return is_up(here) ? 7 : 0;
      }),
      0);
}

}  // namespace
}  // namespace ncr::netlink
