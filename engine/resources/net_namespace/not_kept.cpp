// Objects of a network namespace without a record (engine, on a thread in the namespace). IPsec is
// asked for only where the kernel has it: a question would load modules.
#include "engine/resources/net_namespace/not_kept.h"

#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <sys/socket.h>
#include <unistd.h>

namespace ncr::net_namespace {
namespace {

constexpr const char* kIpsec = "/proc/sys/net/core/xfrm_acq_expires";

void refuse_ipsec(Refusals* refusals) {
  if (::access(kIpsec, F_OK) != 0) return;
  Result<netlink::Socket> socket = netlink::Socket::open(NETLINK_XFRM);
  if (!socket.ok()) return;
  netlink::Request states(XFRM_MSG_GETSADINFO, 0);
  Result<netlink::Reply> told = socket.value().get(states.header(uint32_t{0}), "IPsec states");
  uint32_t count = 0;
  if (told.ok())
    count =
        netlink::Attributes::find(told.value().attributes(sizeof(uint32_t)), XFRMA_SAD_CNT).u32();
  netlink::Request policies(XFRM_MSG_GETSPDINFO, 0);
  told = socket.value().get(policies.header(uint32_t{0}), "IPsec policies");
  if (told.ok()) {
    auto info = header_of<xfrmu_spdinfo>(
        netlink::Attributes::find(told.value().attributes(sizeof(uint32_t)), XFRMA_SPD_INFO).value);
    count += info.incnt + info.outcnt + info.fwdcnt;
  }
  if (count > 0)
    refusals->push_back({strf("%u states and policies of IPsec", count), "they are not kept",
                         "take them away: ip xfrm state flush; ip xfrm policy flush"});
}

// They need VLANs in the kernel (CONFIG_BRIDGE_VLAN_FILTERING).
void refuse_vlans_of_bridges(const Repeated<schema::NetLink>& links, Refusals* refusals) {
  for (const schema::NetLink& link : links) {
    if (link.kind() != "bridge") continue;
    const std::string* filtering = find(link.data(), IFLA_BR_VLAN_FILTERING);
    if (filtering != nullptr && !filtering->empty() && filtering->front() != 0)
      refusals->push_back({strf("link %s", link.name().c_str()),
                           "the VLANs of a bridge and of its ports are not kept", ""});
  }
}

}  // namespace

void refuse_what_is_not_kept(const Repeated<schema::NetLink>& links, Refusals* refusals) {
  refuse_ipsec(refusals);
  refuse_vlans_of_bridges(links, refusals);
}

}  // namespace ncr::net_namespace
