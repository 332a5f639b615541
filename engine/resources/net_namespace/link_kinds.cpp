// The kinds of links (include/uapi/linux/if_link.h, if_tunnel.h). A kind of which nativecr knows
// nothing is refused by name: to make it with half of its settings would be worse. Numbers stand
// where headers are older than the kernels.
#include "engine/resources/net_namespace/link_kinds.h"

#include <linux/if_link.h>
#include <linux/if_tunnel.h>

#include <algorithm>

namespace ncr::net_namespace {
namespace {

constexpr uint16_t kOfBridgeToldOnly[] = {IFLA_BR_ROOT_ID,
                                          IFLA_BR_BRIDGE_ID,
                                          IFLA_BR_ROOT_PORT,
                                          IFLA_BR_ROOT_PATH_COST,
                                          IFLA_BR_TOPOLOGY_CHANGE,
                                          IFLA_BR_TOPOLOGY_CHANGE_DETECTED,
                                          IFLA_BR_HELLO_TIMER,
                                          IFLA_BR_TCN_TIMER,
                                          IFLA_BR_TOPOLOGY_CHANGE_TIMER,
                                          IFLA_BR_GC_TIMER,
                                          IFLA_BR_FDB_FLUSH,
                                          IFLA_BR_PAD,
                                          IFLA_BR_MCAST_QUERIER_STATE,
                                          48 /* IFLA_BR_FDB_N_LEARNED */};
constexpr uint16_t kOfMacvlanToldOnly[] = {IFLA_MACVLAN_MACADDR_MODE, IFLA_MACVLAN_MACADDR,
                                           IFLA_MACVLAN_MACADDR_DATA, IFLA_MACVLAN_MACADDR_COUNT,
                                           IFLA_MACVLAN_BC_QUEUE_LEN_USED};
constexpr uint16_t kOfBondToldOnly[] = {IFLA_BOND_ACTIVE_SLAVE, IFLA_BOND_AD_INFO};
constexpr uint16_t kOfTun[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};  // has a record of its own

constexpr LinkKind kKinds[] = {
    {.name = ""},
    {.name = "veth"},
    {.name = "dummy"},
    {.name = "ifb"},
    {.name = "nlmon"},
    {.name = "vcan"},
    {.name = "tun", .last_data = 9, .not_data = kOfTun},
    {.name = "bridge", .last_data = 49, .not_data = kOfBridgeToldOnly, .set_later = true},
    {.name = "bond", .last_data = 32, .not_data = kOfBondToldOnly, .set_later = true},
    {.name = "vlan", .last_data = IFLA_VLAN_PROTOCOL, .needs_lower = true},
    {.name = "macvlan", .last_data = 9, .not_data = kOfMacvlanToldOnly, .needs_lower = true},
    {.name = "macvtap", .last_data = 9, .not_data = kOfMacvlanToldOnly, .needs_lower = true},
    {.name = "ipvlan", .last_data = IFLA_IPVLAN_FLAGS, .needs_lower = true},
    {.name = "ipvtap", .last_data = IFLA_IPVLAN_FLAGS, .needs_lower = true},
    {.name = "vxlan", .last_data = 32},
    {.name = "geneve", .last_data = 15},
    {.name = "vrf", .last_data = IFLA_VRF_TABLE},
    {.name = "gre", .last_data = IFLA_GRE_FWMARK},
    {.name = "gretap", .last_data = IFLA_GRE_FWMARK},
    {.name = "ip6gre", .last_data = IFLA_GRE_FWMARK},
    {.name = "ip6gretap", .last_data = IFLA_GRE_FWMARK},
    {.name = "ipip", .last_data = IFLA_IPTUN_FWMARK},
    {.name = "sit", .last_data = IFLA_IPTUN_FWMARK},
    {.name = "ip6tnl", .last_data = IFLA_IPTUN_FWMARK},
    {.name = "vti", .last_data = IFLA_VTI_FWMARK},
    {.name = "vti6", .last_data = IFLA_VTI_FWMARK},
};

constexpr uint16_t kEvery[] = {IFLA_ADDRESS,
                               IFLA_BROADCAST,
                               IFLA_MTU,
                               IFLA_TXQLEN,
                               IFLA_LINKMODE,
                               IFLA_IFALIAS,
                               IFLA_GROUP,
                               IFLA_NUM_TX_QUEUES,
                               IFLA_NUM_RX_QUEUES,
                               IFLA_PROTO_DOWN,
                               IFLA_GSO_MAX_SEGS,
                               IFLA_GSO_MAX_SIZE,
                               IFLA_GRO_MAX_SIZE,
                               63 /* IFLA_GSO_IPV4_MAX_SIZE */,
                               64 /* IFLA_GRO_IPV4_MAX_SIZE */};

constexpr uint16_t kOfBridgePort[] = {IFLA_BRPORT_PRIORITY,
                                      IFLA_BRPORT_COST,
                                      IFLA_BRPORT_MODE,
                                      IFLA_BRPORT_GUARD,
                                      IFLA_BRPORT_PROTECT,
                                      IFLA_BRPORT_FAST_LEAVE,
                                      IFLA_BRPORT_LEARNING,
                                      IFLA_BRPORT_UNICAST_FLOOD,
                                      IFLA_BRPORT_PROXYARP,
                                      IFLA_BRPORT_PROXYARP_WIFI,
                                      IFLA_BRPORT_MULTICAST_ROUTER,
                                      IFLA_BRPORT_MCAST_FLOOD,
                                      IFLA_BRPORT_MCAST_TO_UCAST,
                                      IFLA_BRPORT_VLAN_TUNNEL,
                                      IFLA_BRPORT_BCAST_FLOOD,
                                      IFLA_BRPORT_GROUP_FWD_MASK,
                                      IFLA_BRPORT_NEIGH_SUPPRESS,
                                      IFLA_BRPORT_ISOLATED,
                                      IFLA_BRPORT_BACKUP_PORT,
                                      IFLA_BRPORT_MCAST_EHT_HOSTS_LIMIT,
                                      IFLA_BRPORT_LOCKED};

}  // namespace

const Types kLinkTypes = kEvery;

const LinkKind* find_kind(std::string_view name) {
  for (const LinkKind& kind : kKinds)
    if (kind.name == name) return &kind;
  return nullptr;
}

bool keeps_data(const LinkKind& kind, uint32_t type) {
  return type > 0 && type <= kind.last_data && !knows(kind.not_data, type);
}

Types port_types(std::string_view port_kind) {
  return port_kind == "bridge" ? Types(kOfBridgePort) : Types();
}

}  // namespace ncr::net_namespace
