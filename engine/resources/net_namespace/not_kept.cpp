// Objects of a network namespace without a record (engine, on a thread in the namespace). Each is
// asked for only where the kernel has its like: a question would load modules.
#include "engine/resources/net_namespace/not_kept.h"

#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <sys/socket.h>
#include <unistd.h>

namespace ncr::net_namespace {
namespace {

constexpr const char* kIpsec = "/proc/sys/net/core/xfrm_acq_expires";
constexpr const char* kSetsOfAddresses = "/sys/module/ip_set";

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

void refuse_sets(Refusals* refusals) {
  if (::access(kSetsOfAddresses, F_OK) != 0) return;
  Result<netlink::Socket> socket = netlink::Socket::open(NETLINK_NETFILTER);
  if (!socket.ok()) return;
  netlink::Request request((NFNL_SUBSYS_IPSET << 8) | IPSET_CMD_LIST, 0);
  request.header(nfgenmsg{}).put_value(IPSET_ATTR_PROTOCOL, uint8_t{IPSET_PROTOCOL});
  Result<std::vector<netlink::Reply>> sets = socket.value().list(request, "ipset");
  if (sets.ok() && !sets.value().empty())
    refusals->push_back({"sets of addresses (ipset)", "they are not kept",
                         "use sets of nftables, or take them away: ipset destroy"});
}

// Entries of one bridge that somebody entered.
size_t lasting_groups(std::string_view bridge) {
  size_t count = 0;
  netlink::Attributes entries(netlink::Attributes::find(bridge, MDBA_MDB).value);
  netlink::Attribute entry;
  while (entries.next(&entry)) {
    netlink::Attributes infos(entry.value);
    netlink::Attribute info;
    while (infos.next(&info))
      if (info.type == MDBA_MDB_ENTRY_INFO &&
          header_of<br_mdb_entry>(info.value).state == MDB_PERMANENT)
        count++;
  }
  return count;
}

Result<> refuse_of_bridges(netlink::Socket& route, const Repeated<schema::NetLink>& links,
                           Refusals* refusals) {
  bool any = false;
  for (const schema::NetLink& link : links) {
    if (link.kind() != "bridge") continue;
    any = true;
    const std::string* filtering = find(link.data(), IFLA_BR_VLAN_FILTERING);
    if (filtering != nullptr && !filtering->empty() && filtering->front() != 0)
      refusals->push_back({strf("link %s", link.name().c_str()),
                           "the VLANs of a bridge and of its ports are not kept", ""});
  }
  if (!any) return {};
  netlink::Request request(RTM_GETMDB, 0);
  br_port_msg question{};
  question.family = AF_BRIDGE;
  Result<std::vector<netlink::Reply>> bridges =
      route.list(request.header(question), "groups of bridges");
  if (!bridges.ok() && bridges.error().os_error() == EOPNOTSUPP) return {};
  if (!bridges.ok()) return bridges.take_error();
  size_t count = 0;
  for (const netlink::Reply& reply : bridges.value())
    count += lasting_groups(reply.attributes(sizeof question));
  if (count > 0)
    refusals->push_back({strf("%zu multicast groups of bridges", count), "they are not kept",
                         "take them away: bridge mdb del"});
  return {};
}

}  // namespace

Result<> refuse_what_is_not_kept(netlink::Socket& route, const Repeated<schema::NetLink>& links,
                                 Refusals* refusals) {
  refuse_ipsec(refusals);
  refuse_sets(refusals);
  return refuse_of_bridges(route, links, refusals);
}

}  // namespace ncr::net_namespace
