#include "engine/resources/tcp_socket/segment.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>

#include <cstring>

#include "engine/resources/tcp_socket/half_close.h"

namespace ncr::tcp_socket {
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

Segment fin(std::string from, std::string to) {
  return {.from = std::move(from),
          .to = std::move(to),
          .sequence = 0x01020304,
          .acknowledged = 0x0a0b0c0d,
          .window = 7,
          .fin = true};
}

// RFC 1071: the sum over data and its checksum has all bits set.
uint16_t sum(const std::string& bytes) {
  uint32_t total = 0;
  for (size_t i = 0; i < bytes.size(); i += 2)
    total += static_cast<uint32_t>(static_cast<unsigned char>(bytes[i]) << 8 |
                                   static_cast<unsigned char>(bytes[i + 1]));
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return static_cast<uint16_t>(total);
}

TEST(segment, ipv4_has_valid_checksums) {
  const std::string packet = encode(fin(v4("192.0.2.1", 80), v4("192.0.2.2", 4000)));
  ASSERT_EQ(packet.size(), sizeof(iphdr) + sizeof(tcphdr));
  EXPECT_EQ(sum(packet.substr(0, sizeof(iphdr))), 0xffff);
  const std::string tcp = packet.substr(sizeof(iphdr));
  const std::string pseudo = packet.substr(12, 8) + std::string("\0\x06\0\x14", 4);
  EXPECT_EQ(sum(pseudo + tcp), 0xffff);
  tcphdr header;
  memcpy(&header, tcp.data(), sizeof header);
  EXPECT_EQ(ntohs(header.source), 80);
  EXPECT_EQ(ntohs(header.dest), 4000);
  EXPECT_EQ(ntohl(header.seq), 0x01020304u);
  EXPECT_EQ(ntohl(header.ack_seq), 0x0a0b0c0du);
  EXPECT_EQ(header.fin, 1);
  EXPECT_EQ(header.syn, 0);
}

TEST(segment, a_reset_is_no_fin) {
  Segment reset = fin(v4("192.0.2.1", 80), v4("192.0.2.2", 4000));
  reset.fin = false;
  reset.reset = true;
  tcphdr header;
  memcpy(&header, encode(reset).data() + sizeof(iphdr), sizeof header);
  EXPECT_EQ(header.rst, 1);
  EXPECT_EQ(header.fin, 0);
}

TEST(segment, ipv6_has_a_valid_checksum) {
  const std::string packet = encode(fin(v6("2001:db8::1", 80), v6("2001:db8::2", 4000)));
  ASSERT_EQ(packet.size(), sizeof(ip6_hdr) + sizeof(tcphdr));
  const std::string pseudo = packet.substr(8, 32) + std::string("\0\0\0\x14\0\0\0\x06", 8);
  EXPECT_EQ(sum(pseudo + packet.substr(sizeof(ip6_hdr))), 0xffff);
}

TEST(segment, an_ipv4_address_within_ipv6_is_ipv4) {
  EXPECT_EQ(encode(fin(v6("::ffff:192.0.2.1", 80), v6("::ffff:192.0.2.2", 4000))),
            encode(fin(v4("192.0.2.1", 80), v4("192.0.2.2", 4000))));
}

TEST(segment, ends_of_different_families_make_none) {
  EXPECT_EQ(encode(fin(v4("192.0.2.1", 80), v6("2001:db8::2", 4000))), "");
  EXPECT_EQ(encode(fin("", "")), "");
}

TEST(half_close, states_tell_which_fins_were_seen) {
  EXPECT_FALSE(half_close_of(inet_socket::kEstablished).sent_fin);
  EXPECT_TRUE(half_close_of(inet_socket::kFinWait2).sent_fin);
  EXPECT_FALSE(half_close_of(inet_socket::kFinWait2).received_fin);
  EXPECT_TRUE(half_close_of(inet_socket::kCloseWait).received_fin);
  EXPECT_FALSE(half_close_of(inet_socket::kLastAck).sent_first);
  EXPECT_TRUE(half_close_of(inet_socket::kClosing).sent_first);
}

}  // namespace
}  // namespace ncr::tcp_socket
