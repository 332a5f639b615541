#include "engine/tree/nft_transaction.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>

#include <cstring>

namespace ncr {
namespace {

std::string v4(const char* host, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, host, &address.sin_addr);
  address.sin_port = htons(port);
  return std::string(reinterpret_cast<char*>(&address), sizeof address);
}

std::string v6(const char* host, uint16_t port) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  ::inet_pton(AF_INET6, host, &address.sin6_addr);
  address.sin6_port = htons(port);
  return std::string(reinterpret_cast<char*>(&address), sizeof address);
}

std::vector<nlmsghdr> messages_of(const std::string& transaction) {
  std::vector<nlmsghdr> list;
  for (size_t at = 0; at + sizeof(nlmsghdr) <= transaction.size();) {
    nlmsghdr header;
    memcpy(&header, transaction.data() + at, sizeof header);
    list.push_back(header);
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
  return list;
}

size_t count(const std::vector<nlmsghdr>& list, int type) {
  size_t found = 0;
  for (const nlmsghdr& header : list)
    found += header.nlmsg_type == ((NFNL_SUBSYS_NFTABLES << 8) | type) ? 1 : 0;
  return found;
}

TEST(nft_transaction, is_one_batch_whose_last_message_is_answered) {
  const auto list = messages_of(nft_unlock("table"));
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0].nlmsg_type, NFNL_MSG_BATCH_BEGIN);
  EXPECT_EQ(list[2].nlmsg_type, NFNL_MSG_BATCH_END);
  EXPECT_EQ(list[1].nlmsg_flags & NLM_F_ACK, NLM_F_ACK);
  EXPECT_EQ(list[0].nlmsg_flags & NLM_F_ACK, 0);
}

TEST(nft_transaction, a_key_is_both_ends_padded) {
  const std::string lock =
      nft_lock("t", NftTable::kOurs, {{v4("10.1.2.3", 0x1234), v4("10.4.5.6", 80)}});
  EXPECT_NE(lock.find(std::string("\x0a\x01\x02\x03\x12\x34\0\0\x0a\x04\x05\x06\0\x50\0\0", 16)),
            std::string::npos);
}

TEST(nft_transaction, an_ipv4_address_within_ipv6_is_ipv4) {
  const ConnectionAddresses mapped{v6("::ffff:10.1.2.3", 7), v6("::ffff:10.4.5.6", 80)};
  const ConnectionAddresses plain{v4("10.1.2.3", 7), v4("10.4.5.6", 80)};
  EXPECT_EQ(nft_lock("t", NftTable::kOurs, {mapped}), nft_lock("t", NftTable::kOurs, {plain}));
}

TEST(nft_transaction, many_connections_take_several_messages) {
  std::vector<ConnectionAddresses> many(1201, {v6("2001:db8::1", 7), v6("2001:db8::2", 80)});
  const auto list = messages_of(nft_lock("t", NftTable::kStays, many));
  EXPECT_EQ(count(list, NFT_MSG_NEWSETELEM), 3u);
  EXPECT_EQ(count(list, NFT_MSG_NEWRULE), 4u);
}

TEST(nft_transaction, what_is_no_address_is_left_out) {
  const auto list = messages_of(nft_lock("t", NftTable::kOurs, {{"", v4("10.4.5.6", 80)}}));
  EXPECT_EQ(count(list, NFT_MSG_NEWSETELEM), 0u);
}

}  // namespace
}  // namespace ncr
