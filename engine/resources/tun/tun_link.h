// What the link tells of a tun, and its descriptors do not. (engine)
#pragma once

#include "engine/base/sys.h"

namespace ncr::tun {

struct LinkSettings {
  // Each packet comes with four bytes more (without IFF_NO_PI). TUNGETIFF has another meaning for
  // that bit (IFF_NOFILTER).
  bool packet_info = false;
  // TUN_F_*: what is left to whoever reads. No call tells, but they are features of the link.
  uint32_t offloads = 0;
};
Result<LinkSettings> read_link(const Fd& net_namespace, const std::string& link);

}  // namespace ncr::tun
