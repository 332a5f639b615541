// Values of one link below /proc/sys/net/ipv6/conf, as rtnetlink tells them: an array. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ncr::net_namespace {

struct Setting {
  const char* name;   // of the file
  std::string value;  // to be written
};

// What must be written to turn `present` into `wanted`. Those that follow from others are left out.
std::vector<Setting> differing_conf6(std::string_view wanted, std::string_view present);

// The largest packet of IPv6 where it is smaller than the link's; 0: it is the link's.
uint32_t own_mtu6(std::string_view conf6, uint32_t mtu);

// As differing_conf6() for net.ipv4.conf, which rtnetlink takes back: (IPV4_DEVCONF_*, value).
std::vector<std::pair<uint16_t, uint32_t>> differing_conf4(std::string_view wanted,
                                                           std::string_view present);

}  // namespace ncr::net_namespace
