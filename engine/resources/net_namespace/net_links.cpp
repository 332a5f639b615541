// Links (struct net_device), as RTM_GETLINK tells of them (engine, on a thread in the namespace).
// One answer holds nearly all: name, addresses, settings of the kind (IFLA_INFO_DATA), of a port
// (IFLA_INFO_SLAVE_DATA), and the values below net.ipv4.conf and net.ipv6.conf. Where another end
// lies outside the namespace, the kernel numbers the other namespace (IFLA_LINK_NETNSID). Not told:
// what a driver has in its hardware, BPF programs (refused).
#include "engine/resources/net_namespace/net_links.h"

#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>

#include "engine/resources/net_namespace/link_kinds.h"

namespace ncr::net_namespace {
namespace {

constexpr uint32_t kSkipStatistics = 1 << 3;  // RTEXT_FILTER_SKIP_STATS
constexpr uint32_t kFlagsThatAreSet = IFF_UP | IFF_NOTRAILERS | IFF_NOARP | IFF_PROMISC |
                                      IFF_ALLMULTI | IFF_MULTICAST | IFF_DEBUG | IFF_DYNAMIC;

std::string link_text(const schema::NetLink& link) {
  return strf("link %s%s%s", link.name().c_str(), link.kind().empty() ? "" : ", of kind ",
              link.kind().c_str());
}

void read_conf(std::string_view families, schema::NetLink* link) {
  using netlink::Attributes;
  std::string_view inet = Attributes::find(families, AF_INET).value;
  link->set_conf4(std::string(Attributes::find(inet, IFLA_INET_CONF).value));
  std::string_view inet6 = Attributes::find(families, AF_INET6).value;
  if (inet6.empty()) return;
  link->set_conf6(std::string(Attributes::find(inet6, IFLA_INET6_CONF).value));
  std::string_view mode = Attributes::find(inet6, IFLA_INET6_ADDR_GEN_MODE).value;
  link->set_address_mode6(mode.empty() ? 0 : static_cast<uint8_t>(mode.front()));
  std::string token(Attributes::find(inet6, IFLA_INET6_TOKEN).value);
  if (token.find_first_not_of('\0') != std::string::npos) link->set_token6(token);
}

void read_tun(std::string_view data, schema::NetLink* link) {
  auto byte = [&](uint16_t type) {
    std::string_view value = netlink::Attributes::find(data, type).value;
    return value.empty() ? 0u : static_cast<uint8_t>(value.front());
  };
  schema::NetTun* tun = link->mutable_tun();
  uint32_t flags = byte(IFLA_TUN_TYPE);
  if (byte(IFLA_TUN_PI) == 0) flags |= IFF_NO_PI;
  if (byte(IFLA_TUN_VNET_HDR) != 0) flags |= IFF_VNET_HDR;
  if (byte(IFLA_TUN_MULTI_QUEUE) != 0) flags |= IFF_MULTI_QUEUE;
  tun->set_flags(flags);
  if (netlink::Attributes::has(data, IFLA_TUN_OWNER))
    tun->set_owner(netlink::Attributes::find(data, IFLA_TUN_OWNER).u32());
  if (netlink::Attributes::has(data, IFLA_TUN_GROUP))
    tun->set_group(netlink::Attributes::find(data, IFLA_TUN_GROUP).u32());
  tun->set_fleeting(byte(IFLA_TUN_PERSIST) == 0);
}

// Told as a byte, and taken only as an attribute without a value.
bool is_flag(const std::string& kind, uint16_t type) {
  return kind == "vxlan" && type == IFLA_VXLAN_TTL_INHERIT;
}

void read_kind(std::string_view info, schema::NetLink* link, Refusals* refusals) {
  using netlink::Attributes;
  link->set_kind(std::string(Attributes::find(info, IFLA_INFO_KIND).text()));
  std::string_view data = Attributes::find(info, IFLA_INFO_DATA).value;
  const LinkKind* kind = find_kind(link->kind());
  if (kind == nullptr) {
    refusals->push_back({link_text(*link), "links of this kind cannot be made again", ""});
    return;
  }
  Attributes walk(data);
  netlink::Attribute attribute;
  while (walk.next(&attribute)) {
    if (!keeps_data(*kind, attribute.type)) continue;
    const bool flag = is_flag(link->kind(), attribute.type);
    if (flag && attribute.value == std::string_view("", 1)) continue;
    schema::NetAttribute* kept = link->add_data();
    kept->set_type(attribute.type | uint32_t{attribute.flags});
    if (!flag) kept->set_value(std::string(attribute.value));
  }
  if (link->kind() == "tun") read_tun(data, link);
  if (link->kind().starts_with("macv") &&
      Attributes::find(data, IFLA_MACVLAN_MACADDR_COUNT).u32() != 0)
    refusals->push_back({link_text(*link), "it has a list of source addresses", ""});
  link->set_port_kind(std::string(Attributes::find(info, IFLA_INFO_SLAVE_KIND).text()));
  std::string_view port = Attributes::find(info, IFLA_INFO_SLAVE_DATA).value;
  keep(port, port_types(link->port_kind()), link->mutable_port());
}

// Where the other end is, or what the link stands on.
void read_lower(std::string_view attributes, const std::vector<Neighbourhood>& others,
                schema::NetLink* link, Refusals* refusals) {
  link->set_lower(netlink::Attributes::find(attributes, IFLA_LINK).u32());
  if (!netlink::Attributes::has(attributes, IFLA_LINK_NETNSID)) return;
  auto number =
      static_cast<int32_t>(netlink::Attributes::find(attributes, IFLA_LINK_NETNSID).u32());
  link->set_lower_place(schema::NET_OUTSIDE);
  for (const Neighbourhood& other : others)
    if (other.number == number) {
      link->set_lower_place(schema::NET_OTHER);
      link->set_lower_namespace(other.inode);
    }
  if (link->kind() == "veth") return;
  if (link->lower_place() == schema::NET_OUTSIDE && link->kind().starts_with("macv")) return;
  refusals->push_back({link_text(*link), "it stands on a link of another network namespace", ""});
}

Result<std::vector<netlink::Reply>> ask_for_links(netlink::Socket& socket) {
  netlink::Request request(RTM_GETLINK, 0);
  request.header(ifinfomsg{}).put_value(IFLA_EXT_MASK, kSkipStatistics);
  return socket.list(request, "links");
}

bool is_external(const std::vector<External>& externals, const char* kind,
                 const std::string& name) {
  return std::any_of(externals.begin(), externals.end(), [&](const External& external) {
    return external.kind == kind && external.object == name;
  });
}

}  // namespace

Result<schema::NetLink> parse_link(const netlink::Reply& reply,
                                   const std::vector<Neighbourhood>& others, Refusals* refusals) {
  using netlink::Attributes;
  auto header = reply.header<ifinfomsg>();
  std::string_view attributes = reply.attributes(sizeof header);
  schema::NetLink link;
  link.set_index(static_cast<uint32_t>(header.ifi_index));
  link.set_name(std::string(Attributes::find(attributes, IFLA_IFNAME).text()));
  if (link.index() == 0 || link.name().empty())
    return Error(ErrorCode::kSystem, "netlink: a link without a number or a name");
  link.set_flags(header.ifi_flags & kFlagsThatAreSet);
  link.set_master(Attributes::find(attributes, IFLA_MASTER).u32());
  keep(attributes, kLinkTypes, link.mutable_attributes());
  read_kind(Attributes::find(attributes, IFLA_LINKINFO).value, &link, refusals);
  read_lower(attributes, others, &link, refusals);
  read_conf(Attributes::find(attributes, IFLA_AF_SPEC).value, &link);
  Attributes names(Attributes::find(attributes, IFLA_PROP_LIST).value);
  netlink::Attribute name;
  while (names.next(&name))
    if (name.type == IFLA_ALT_IFNAME) link.add_other_names(std::string(name.text()));
  std::string_view xdp = Attributes::find(attributes, IFLA_XDP).value;
  std::string_view attached = Attributes::find(xdp, IFLA_XDP_ATTACHED).value;
  if (!attached.empty() && attached.front() != 0)
    refusals->push_back({link_text(link), "a BPF program is attached to it (XDP)",
                         strf("detach it: ip link set dev %s xdp off", link.name().c_str())});
  return link;
}

Result<> list_links(netlink::Socket& socket, Repeated<schema::NetLink>* links) {
  Refusals ignored;
  for (const netlink::Reply& reply : TRY(ask_for_links(socket)))
    if (reply.type == RTM_NEWLINK) links->Add(TRY(parse_link(reply, {}, &ignored)));
  return {};
}

Result<> dump_links(netlink::Socket& socket, const std::vector<Neighbourhood>& others,
                    const std::vector<External>& externals, schema::NetNamespace* record,
                    Refusals* refusals) {
  for (const netlink::Reply& reply : TRY(ask_for_links(socket))) {
    if (reply.type != RTM_NEWLINK) continue;
    schema::NetLink link = TRY(parse_link(reply, others, refusals));
    bool of_the_host = link.kind().empty() && reply.header<ifinfomsg>().ifi_type != ARPHRD_LOOPBACK;
    if (of_the_host && !is_external(externals, "netdev", link.name()))
      refusals->push_back({link_text(link), "it is a device of the host",
                           strf("--external netdev[%s]:NAME", link.name().c_str())});
    if (of_the_host) link.set_lower_place(schema::NET_OUTSIDE);
    *record->add_links() = std::move(link);
  }
  return {};
}

}  // namespace ncr::net_namespace
