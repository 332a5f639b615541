// TCP segments as a peer would send them. Pure, but for inject().
#pragma once

#include <string>

#include "engine/base/sys.h"

namespace ncr::tcp_socket {

struct Segment {
  std::string from;  // struct sockaddr_in or _in6, of one family (an IPv4 address in IPv6 is IPv4)
  std::string to;
  uint32_t sequence = 0;
  uint32_t acknowledged = 0;
  uint16_t window = 0;
  bool fin = false;
  bool reset = false;
};

// With headers of IP and TCP. Empty if the addresses are none.
std::string encode(const Segment& segment);

// Hands it to this machine as if it had come from the network; it passes a NetworkLock.
Result<> inject(const Segment& segment);

}  // namespace ncr::tcp_socket
