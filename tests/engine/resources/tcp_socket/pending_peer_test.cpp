#include "engine/resources/tcp_socket/pending_peer.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include "engine/resources/inet_socket/inet_address.h"

namespace ncr::tcp_socket {
namespace {

using inet_socket::address_text;

constexpr char kTcp[] =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode\n"
    "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 "
    "1 x\n"
    "   1: 0100007F:9C40 020200C0:0050 02 00000001:00000000 01:00000000 00000000     0        0 12 "
    "2 x\n";
constexpr char kTcp6[] =
    "   0: 00000000000000000000000001000000:9C40 B80D0120000000000000000001000000:01BB 02 "
    "00000001:00000000 "
    "01:00000000 00000000     0        0 13 2 x\n";

TEST(pending_peer, is_told_by_the_line_of_the_inode) {
  EXPECT_EQ(address_text(parse_peer(kTcp, 12, AF_INET)), "192.0.2.2:80");
  EXPECT_EQ(address_text(parse_peer(kTcp6, 13, AF_INET6)), "[2001:db8::1]:443");
}

TEST(pending_peer, of_an_inode_that_is_not_there_is_none) {
  EXPECT_EQ(parse_peer(kTcp, 14, AF_INET), "");
  EXPECT_EQ(parse_peer("", 12, AF_INET), "");
  EXPECT_EQ(parse_peer("0: 0100007F:9C40 zz:0050 02 a b c d e 12", 12, AF_INET), "");
}

}  // namespace
}  // namespace ncr::tcp_socket
