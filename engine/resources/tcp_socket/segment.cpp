// See segment.h. A raw socket sends it to an address of our own, so it takes the loopback and never
// leaves the machine. (child)
#include "engine/resources/tcp_socket/segment.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstring>

#include "engine/resources/inet_socket/inet_address.h"
#include "engine/resources/socket_options.h"
#include "engine/tree/nft_transaction.h"

namespace ncr::tcp_socket {
namespace {

// 4 or 16 bytes, or none.
std::string host_of(const std::string& address) {
  if (address.size() >= sizeof(sockaddr_in6)) {
    sockaddr_in6 six{};
    memcpy(&six, address.data(), sizeof six);
    const auto* raw = reinterpret_cast<const char*>(&six.sin6_addr);
    return IN6_IS_ADDR_V4MAPPED(&six.sin6_addr) ? std::string(raw + 12, 4) : std::string(raw, 16);
  }
  if (address.size() < sizeof(sockaddr_in)) return {};
  sockaddr_in four{};
  memcpy(&four, address.data(), sizeof four);
  return std::string(reinterpret_cast<const char*>(&four.sin_addr), 4);
}

// RFC 1071, over 16-bit words in network order.
uint16_t checksum(const std::string& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
    uint16_t word = 0;
    memcpy(&word, bytes.data() + i, sizeof word);
    sum += word;
  }
  while ((sum >> 16) != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

template <class T>
std::string raw_bytes(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string encode_tcp(const Segment& segment) {
  const std::string from = host_of(segment.from);
  const std::string to = host_of(segment.to);
  tcphdr header{};
  header.source = htons(inet_socket::port_of(segment.from));
  header.dest = htons(inet_socket::port_of(segment.to));
  header.seq = htonl(segment.sequence);
  header.ack_seq = htonl(segment.acknowledged);
  header.doff = sizeof header / 4;
  header.fin = segment.fin ? 1 : 0;
  header.rst = segment.reset ? 1 : 0;
  header.ack = 1;
  header.window = htons(segment.window);
  // Both pseudo headers come to the same sum: addresses, length, protocol.
  const std::string pseudo =
      from + to + raw_bytes(htonl(sizeof header)) + raw_bytes(htonl(uint32_t{IPPROTO_TCP}));
  header.check = checksum(pseudo + raw_bytes(header));
  return raw_bytes(header);
}

std::string encode_ipv4(const std::string& from, const std::string& to, size_t payload) {
  iphdr header{};
  header.version = 4;
  header.ihl = sizeof header / 4;
  header.tot_len = htons(static_cast<uint16_t>(sizeof header + payload));
  header.ttl = IPDEFTTL;
  header.protocol = IPPROTO_TCP;
  memcpy(&header.saddr, from.data(), sizeof header.saddr);
  memcpy(&header.daddr, to.data(), sizeof header.daddr);
  header.check = checksum(raw_bytes(header));
  return raw_bytes(header);
}

std::string encode_ipv6(const std::string& from, const std::string& to, size_t payload) {
  ip6_hdr header{};
  header.ip6_flow = htonl(6u << 28);
  header.ip6_plen = htons(static_cast<uint16_t>(payload));
  header.ip6_nxt = IPPROTO_TCP;
  header.ip6_hlim = IPDEFTTL;
  memcpy(&header.ip6_src, from.data(), sizeof header.ip6_src);
  memcpy(&header.ip6_dst, to.data(), sizeof header.ip6_dst);
  return raw_bytes(header);
}

// Where a raw socket is to send it: without a port.
std::string destination(const std::string& host) {
  if (host.size() == sizeof(in_addr)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    memcpy(&address.sin_addr, host.data(), host.size());
    return raw_bytes(address);
  }
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  memcpy(&address.sin6_addr, host.data(), host.size());
  return raw_bytes(address);
}

}  // namespace

std::string encode(const Segment& segment) {
  const std::string from = host_of(segment.from);
  const std::string to = host_of(segment.to);
  if (from.size() != to.size() || from.empty()) return {};
  const std::string tcp = encode_tcp(segment);
  return (from.size() == sizeof(in_addr) ? encode_ipv4(from, to, tcp.size())
                                         : encode_ipv6(from, to, tcp.size())) +
         tcp;
}

Result<> inject(const Segment& segment) {
  const std::string packet = encode(segment);
  if (packet.empty()) return Error::malformed("a connection whose ends are no addresses");
  const std::string host = host_of(segment.to);
  const std::string where = destination(host);
  Fd raw(TRY(SYSCALL(::socket(host.size() == sizeof(in_addr) ? AF_INET : AF_INET6,
                              SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW),
                     "raw socket, which needs CAP_NET_RAW")));
  TRY(set_int_option(raw, SOL_SOCKET, SO_MARK, static_cast<int>(kLockPassMark), "SO_MARK"));
  TRY(SYSCALL(::sendto(raw.get(), packet.data(), packet.size(), 0,
                       reinterpret_cast<const sockaddr*>(where.data()),
                       static_cast<socklen_t>(where.size())),
              "send a segment to %s", inet_socket::address_text(segment.to).c_str()));
  return {};
}

}  // namespace ncr::tcp_socket
