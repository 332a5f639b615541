// The arrays IFLA_INET_CONF (include/uapi/linux/ip.h, IPV4_DEVCONF_*, the first is 1) and
// IFLA_INET6_CONF (include/uapi/linux/ipv6.h, DEVCONF_*). Pure. rtnetlink takes values for IPv4
// back, for IPv6 they are written to files; times that the array has in milliseconds stand there in
// seconds.
#include "engine/resources/net_namespace/link_conf.h"

#include <linux/ip.h>
#include <linux/ipv6.h>

#include <cstring>

#include "engine/base/strf.h"

namespace ncr::net_namespace {
namespace {

enum class Unit { kPlain, kSeconds };

struct Name {
  int index;
  const char* name;
  Unit unit = Unit::kPlain;
};

// Not here: mtu (own_mtu6), mc_forwarding (a daemon's), stable_secret (not told), addr_gen_mode
// (set by rtnetlink, last).
constexpr Name kNames[] = {
    {DEVCONF_DISABLE_IPV6, "disable_ipv6"},
    {DEVCONF_FORWARDING, "forwarding"},
    {DEVCONF_HOPLIMIT, "hop_limit"},
    {DEVCONF_ACCEPT_RA, "accept_ra"},
    {DEVCONF_ACCEPT_REDIRECTS, "accept_redirects"},
    {DEVCONF_AUTOCONF, "autoconf"},
    {DEVCONF_DAD_TRANSMITS, "dad_transmits"},
    {DEVCONF_RTR_SOLICITS, "router_solicitations"},
    {DEVCONF_RTR_SOLICIT_INTERVAL, "router_solicitation_interval", Unit::kSeconds},
    {DEVCONF_RTR_SOLICIT_DELAY, "router_solicitation_delay", Unit::kSeconds},
    {DEVCONF_USE_TEMPADDR, "use_tempaddr"},
    {DEVCONF_TEMP_VALID_LFT, "temp_valid_lft"},
    {DEVCONF_TEMP_PREFERED_LFT, "temp_prefered_lft"},
    {DEVCONF_REGEN_MAX_RETRY, "regen_max_retry"},
    {DEVCONF_MAX_DESYNC_FACTOR, "max_desync_factor"},
    {DEVCONF_MAX_ADDRESSES, "max_addresses"},
    {DEVCONF_FORCE_MLD_VERSION, "force_mld_version"},
    {DEVCONF_ACCEPT_RA_DEFRTR, "accept_ra_defrtr"},
    {DEVCONF_ACCEPT_RA_PINFO, "accept_ra_pinfo"},
    {DEVCONF_ACCEPT_RA_RTR_PREF, "accept_ra_rtr_pref"},
    {DEVCONF_RTR_PROBE_INTERVAL, "router_probe_interval", Unit::kSeconds},
    {DEVCONF_ACCEPT_RA_RT_INFO_MAX_PLEN, "accept_ra_rt_info_max_plen"},
    {DEVCONF_PROXY_NDP, "proxy_ndp"},
    {DEVCONF_OPTIMISTIC_DAD, "optimistic_dad"},
    {DEVCONF_ACCEPT_SOURCE_ROUTE, "accept_source_route"},
    {DEVCONF_ACCEPT_DAD, "accept_dad"},
    {DEVCONF_FORCE_TLLAO, "force_tllao"},
    {DEVCONF_NDISC_NOTIFY, "ndisc_notify"},
    {DEVCONF_MLDV1_UNSOLICITED_REPORT_INTERVAL, "mldv1_unsolicited_report_interval"},
    {DEVCONF_MLDV2_UNSOLICITED_REPORT_INTERVAL, "mldv2_unsolicited_report_interval"},
    {DEVCONF_SUPPRESS_FRAG_NDISC, "suppress_frag_ndisc"},
    {DEVCONF_ACCEPT_RA_FROM_LOCAL, "accept_ra_from_local"},
    {DEVCONF_USE_OPTIMISTIC, "use_optimistic"},
    {DEVCONF_ACCEPT_RA_MTU, "accept_ra_mtu"},
    {DEVCONF_USE_OIF_ADDRS_ONLY, "use_oif_addrs_only"},
    {DEVCONF_ACCEPT_RA_MIN_HOP_LIMIT, "accept_ra_min_hop_limit"},
    {DEVCONF_IGNORE_ROUTES_WITH_LINKDOWN, "ignore_routes_with_linkdown"},
    {DEVCONF_DROP_UNICAST_IN_L2_MULTICAST, "drop_unicast_in_l2_multicast"},
    {DEVCONF_DROP_UNSOLICITED_NA, "drop_unsolicited_na"},
    {DEVCONF_KEEP_ADDR_ON_DOWN, "keep_addr_on_down"},
    {DEVCONF_RTR_SOLICIT_MAX_INTERVAL, "router_solicitation_max_interval", Unit::kSeconds},
    {DEVCONF_SEG6_ENABLED, "seg6_enabled"},
    {DEVCONF_SEG6_REQUIRE_HMAC, "seg6_require_hmac"},
    {DEVCONF_ENHANCED_DAD, "enhanced_dad"},
    {DEVCONF_DISABLE_POLICY, "disable_policy"},
    {DEVCONF_ACCEPT_RA_RT_INFO_MIN_PLEN, "accept_ra_rt_info_min_plen"},
    {DEVCONF_NDISC_TCLASS, "ndisc_tclass"},
    {DEVCONF_RPL_SEG_ENABLED, "rpl_seg_enabled"},
    {DEVCONF_RA_DEFRTR_METRIC, "ra_defrtr_metric"},
    {DEVCONF_IOAM6_ENABLED, "ioam6_enabled"},
    {DEVCONF_IOAM6_ID, "ioam6_id"},
    {DEVCONF_IOAM6_ID_WIDE, "ioam6_id_wide"},
    {DEVCONF_NDISC_EVICT_NOCARRIER, "ndisc_evict_nocarrier"},
    {DEVCONF_ACCEPT_UNTRACKED_NA, "accept_untracked_na"},
    {DEVCONF_ACCEPT_RA_MIN_LFT, "accept_ra_min_lft"},
};

constexpr size_t kFirstConf4 = 1;
constexpr uint16_t kForwardingOfMulticast4 = IPV4_DEVCONF_MC_FORWARDING;

size_t count(std::string_view array) { return array.size() / sizeof(int32_t); }

int32_t at(std::string_view array, size_t index) {
  int32_t value = 0;
  memcpy(&value, array.data() + index * sizeof value, sizeof value);
  return value;
}

}  // namespace

std::vector<Setting> differing_conf6(std::string_view wanted, std::string_view present) {
  std::vector<Setting> settings;
  for (const Name& name : kNames) {
    auto index = static_cast<size_t>(name.index);
    if (index >= count(wanted) || index >= count(present)) continue;
    int32_t value = at(wanted, index);
    if (value == at(present, index)) continue;
    if (name.unit == Unit::kSeconds) value /= 1000;
    bool is_unsigned = name.index == DEVCONF_RA_DEFRTR_METRIC || name.index == DEVCONF_IOAM6_ID ||
                       name.index == DEVCONF_IOAM6_ID_WIDE;
    settings.push_back(
        {name.name, is_unsigned ? strf("%u", static_cast<uint32_t>(value)) : strf("%d", value)});
  }
  return settings;
}

uint32_t own_mtu6(std::string_view conf6, uint32_t mtu) {
  constexpr uint32_t kLeast = 1280;  // IPV6_MIN_MTU; the kernel takes no other values
  if (count(conf6) <= DEVCONF_MTU6) return 0;
  const auto value = static_cast<uint32_t>(at(conf6, DEVCONF_MTU6));
  return value >= kLeast && value < mtu ? value : 0;
}

std::vector<std::pair<uint16_t, uint32_t>> differing_conf4(std::string_view wanted,
                                                           std::string_view present) {
  std::vector<std::pair<uint16_t, uint32_t>> settings;
  for (size_t i = 0; i < count(wanted) && i < count(present); i++) {
    auto type = static_cast<uint16_t>(i + kFirstConf4);
    if (type == kForwardingOfMulticast4 || at(wanted, i) == at(present, i)) continue;
    settings.emplace_back(type, static_cast<uint32_t>(at(wanted, i)));
  }
  return settings;
}

}  // namespace ncr::net_namespace
