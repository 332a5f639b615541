// See tun_link.h. set_offload (drivers/net/tun.c, Linux 6.12) turns TUN_F_* into features of the
// link, whose numbers differ from kernel to kernel, so that ethtool tells their names as well.
#include "engine/resources/tun/tun_link.h"

#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/foreign_socket.h"
#include "engine/base/netlink.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace ncr::tun {
namespace {

struct Feature {
  std::string_view name;
  uint32_t offloads;
};
constexpr Feature kFeatures[] = {
    {"tx-checksum-ip-generic", TUN_F_CSUM},
    {"tx-tcp-segmentation", TUN_F_TSO4},
    {"tx-tcp6-segmentation", TUN_F_TSO6},
    {"tx-tcp-ecn-segmentation", TUN_F_TSO_ECN},
    {"tx-udp-segmentation", TUN_F_USO4 | TUN_F_USO6},
};

// Asks for what begins with this header; the answer takes its place.
Result<> ask(const Fd& socket, const std::string& link, void* question) {
  ifreq request{};
  memcpy(request.ifr_name, link.data(), std::min(link.size(), sizeof request.ifr_name - 1));
  request.ifr_data = static_cast<char*>(question);
  TRY(SYSCALL(::ioctl(socket.get(), SIOCETHTOOL, &request), "features of link %s", link.c_str()));
  return {};
}

// Made of the kernel's structs, which end in arrays without a length.
template <class T>
std::vector<char> room_for(size_t more) {
  return std::vector<char>(sizeof(T) + more);
}

Result<std::vector<std::string>> names_of_features(const Fd& socket, const std::string& link) {
  std::vector<char> counted = room_for<ethtool_sset_info>(sizeof(uint32_t));
  auto* sets = reinterpret_cast<ethtool_sset_info*>(counted.data());
  sets->cmd = ETHTOOL_GSSET_INFO;
  sets->sset_mask = 1ull << ETH_SS_FEATURES;
  TRY(ask(socket, link, sets));
  uint32_t count = 0;
  memcpy(&count, counted.data() + sizeof *sets, sizeof count);
  if (sets->sset_mask == 0 || count > 4096) return std::vector<std::string>();
  std::vector<char> told = room_for<ethtool_gstrings>(size_t{count} * ETH_GSTRING_LEN);
  auto* strings = reinterpret_cast<ethtool_gstrings*>(told.data());
  strings->cmd = ETHTOOL_GSTRINGS;
  strings->string_set = ETH_SS_FEATURES;
  strings->len = count;
  TRY(ask(socket, link, strings));
  std::vector<std::string> names;
  for (uint32_t i = 0; i < count; i++) {
    const char* name = told.data() + sizeof *strings + size_t{i} * ETH_GSTRING_LEN;
    names.emplace_back(name, ::strnlen(name, ETH_GSTRING_LEN));
  }
  return names;
}

Result<bool> has_packet_info(const Fd& socket, const std::string& link) {
  netlink::Socket route = TRY(netlink::Socket::open_beside(socket, NETLINK_ROUTE));
  netlink::Request request(RTM_GETLINK, 0);
  request.header(ifinfomsg{}).put_text(IFLA_IFNAME, link);
  const netlink::Reply reply = TRY(route.get(request, "link of a tun"));
  using netlink::Attributes;
  const std::string_view info =
      Attributes::find(reply.attributes(sizeof(ifinfomsg)), IFLA_LINKINFO).value;
  const std::string_view data = Attributes::find(info, IFLA_INFO_DATA).value;
  const std::string_view value = Attributes::find(data, IFLA_TUN_PI).value;
  return !value.empty() && value.front() != 0;
}

Result<uint32_t> read_offloads(const Fd& socket, const std::string& link) {
  const std::vector<std::string> names = TRY(names_of_features(socket, link));
  const size_t blocks = (names.size() + 31) / 32;
  std::vector<char> told = room_for<ethtool_gfeatures>(blocks * sizeof(ethtool_get_features_block));
  auto* features = reinterpret_cast<ethtool_gfeatures*>(told.data());
  features->cmd = ETHTOOL_GFEATURES;
  features->size = static_cast<uint32_t>(blocks);
  TRY(ask(socket, link, features));
  uint32_t offloads = 0;
  for (size_t i = 0; i < names.size(); i++) {
    ethtool_get_features_block block;
    memcpy(&block, told.data() + sizeof *features + i / 32 * sizeof block, sizeof block);
    if ((block.active >> (i % 32) & 1) == 0) continue;
    for (const Feature& feature : kFeatures)
      if (names[i] == feature.name) offloads |= feature.offloads;
  }
  return offloads;
}

}  // namespace

Result<LinkSettings> read_link(const Fd& net_namespace, const std::string& link) {
  Fd socket = TRY(socket_in(net_namespace, AF_INET, SOCK_DGRAM));
  LinkSettings settings;
  settings.packet_info = TRY(has_packet_info(socket, link));
  settings.offloads = TRY(read_offloads(socket, link));
  return settings;
}

}  // namespace ncr::tun
