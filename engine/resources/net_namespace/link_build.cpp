// Links made again (root task of a tree, in its new and nearly empty network namespace). A link is
// made with what can only be said then (number, name, kind, what it stands on); what differs
// afterwards is set. The kernel's own IPv6 addresses are not asked for until those of the image are
// there. Both ends of a veth come at once. A tun comes from /dev/net/tun.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <map>
#include <set>

#include "engine/resources/net_namespace/link_conf.h"
#include "engine/resources/net_namespace/link_kinds.h"
#include "engine/resources/net_namespace/net_links.h"
#include "engine/resources/tun/device_desk.h"

namespace ncr::net_namespace {
namespace {

constexpr size_t kMostLinks = 100'000;
constexpr uint8_t kNoAddresses = 1;  // IN6_ADDR_GEN_MODE_NONE
constexpr uint32_t kTunFlags = IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;

using Links = Repeated<schema::NetLink>;

const schema::NetLink* find_link(const Links& links, uint32_t index) {
  for (const schema::NetLink& link : links)
    if (link.index() == index) return &link;
  return nullptr;
}

bool stands_on_another(const schema::NetLink& link) {
  return link.lower() != 0 && link.lower() != link.index() && link.kind() != "veth" &&
         link.lower_place() == schema::NET_HERE;
}

bool good_name(std::string_view name) {
  return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/:\0 \t\n", 6)) == std::string_view::npos;
}

ifinfomsg header_of_link(uint32_t index) {
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = static_cast<int>(index);
  return header;
}

void put_birth(const schema::NetLink& link, netlink::Request& request) {
  request.put_text(IFLA_IFNAME, link.name());
  for (uint16_t type : {IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES, IFLA_ADDRESS, IFLA_MTU})
    if (const std::string* value = find(link.attributes(), type); value && !value->empty())
      request.put(type, *value);
}

Result<> make_tun(const schema::NetLink& link, const tun::DeviceDesk* devices) {
  Fd tun = TRY(tun::open_node(tun::kNode, O_RDWR, devices));
  unsigned index = link.index();
  TRY(SYSCALL(::ioctl(tun.get(), TUNSETIFINDEX, &index), "ioctl TUNSETIFINDEX"));
  ifreq request{};
  memcpy(request.ifr_name, link.name().data(), link.name().size());
  request.ifr_flags = static_cast<short>((link.tun().flags() & kTunFlags) | IFF_TUN_EXCL);
  TRY(SYSCALL(::ioctl(tun.get(), TUNSETIFF, &request), "ioctl TUNSETIFF"));
  if (link.tun().has_owner())
    TRY(SYSCALL(::ioctl(tun.get(), TUNSETOWNER, static_cast<unsigned long>(link.tun().owner())),
                "ioctl TUNSETOWNER"));
  if (link.tun().has_group())
    TRY(SYSCALL(::ioctl(tun.get(), TUNSETGROUP, static_cast<unsigned long>(link.tun().group())),
                "ioctl TUNSETGROUP"));
  TRY(SYSCALL(::ioctl(tun.get(), TUNSETPERSIST, 1UL), "ioctl TUNSETPERSIST"));
  return {};
}

Result<> put_far_end(const Links& links, const schema::NetLink& link, const FarEnds& far,
                     netlink::Request& request) {
  const schema::NetLink* other = nullptr;
  int target = -1;
  if (link.lower_place() == schema::NET_HERE) {
    other = find_link(links, link.lower());
  } else if (far.link && far.descriptor) {
    other = far.link(link);
    target = far.descriptor(link);
    if (target < 0) other = nullptr;
  }
  if (other == nullptr) return Error::malformed("a veth without its other end");
  size_t peer = request.nest(VETH_INFO_PEER);
  request.header(header_of_link(other->index()));
  put_birth(*other, request);
  if (target >= 0) request.put_value(IFLA_NET_NS_FD, static_cast<uint32_t>(target));
  request.end(peer);
  return {};
}

Result<> make_link(netlink::Socket& socket, const Links& links, const schema::NetLink& link,
                   const FarEnds& far) {
  if (link.kind() == "tun") return make_tun(link, far.devices);
  netlink::Request request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  request.header(header_of_link(link.index()));
  put_birth(link, request);
  if (stands_on_another(link)) request.put_value(IFLA_LINK, link.lower());
  size_t info = request.nest(IFLA_LINKINFO);
  request.put_text(IFLA_INFO_KIND, link.kind());
  size_t data = request.nest(IFLA_INFO_DATA);
  const LinkKind* kind = find_kind(link.kind());
  if (kind == nullptr) return Error::malformed("a link of an unknown kind");
  if (link.kind() == "veth") TRY(put_far_end(links, link, far, request));
  if (!kind->set_later) put(link.data(), request);
  request.end(data);
  request.end(info);
  return socket.run(request, "make");
}

Result<> write_conf6(const schema::NetLink& link, const Setting& setting) {
  std::string path = strf("/proc/sys/net/ipv6/conf/%s/%s", link.name().c_str(), setting.name);
  Fd file = TRY(sys::open(path.c_str(), O_WRONLY));
  TRY_WHILE(sys::write_all(file, setting.value.data(), setting.value.size()), "%s", path.c_str());
  return {};
}

Result<> set_conf6(const schema::NetLink& link, const schema::NetLink& present) {
  for (const Setting& setting : differing_conf6(link.conf6(), present.conf6()))
    TRY(write_conf6(link, setting));
  return {};
}

// Puts what differs of `wanted` into the request; says whether something did.
bool put_differing(const Repeated<schema::NetAttribute>& wanted,
                   const Repeated<schema::NetAttribute>& present, netlink::Request& request) {
  bool any = false;
  for (const schema::NetAttribute& attribute : wanted) {
    const std::string* is = find(present, static_cast<uint16_t>(attribute.type() & NLA_TYPE_MASK));
    if (is != nullptr && *is == attribute.value()) continue;
    request.put(static_cast<uint16_t>(attribute.type()), attribute.value());
    any = true;
  }
  return any;
}

// What a link is made with cannot be set any more.
Repeated<schema::NetAttribute> that_are_set(const schema::NetLink& link) {
  Repeated<schema::NetAttribute> attributes = link.attributes();
  drop(&attributes, IFLA_NUM_TX_QUEUES);
  drop(&attributes, IFLA_NUM_RX_QUEUES);
  if (link.name() == "lo") drop(&attributes, IFLA_ADDRESS);
  return attributes;
}

Result<> set_attributes(netlink::Socket& socket, const schema::NetLink& link,
                        const schema::NetLink& present) {
  netlink::Request request(RTM_SETLINK, 0);
  request.header(header_of_link(link.index()));
  bool any = put_differing(that_are_set(link), present.attributes(), request);
  auto conf4 = differing_conf4(link.conf4(), present.conf4());
  size_t families = request.nest(IFLA_AF_SPEC);
  if (!conf4.empty()) {
    size_t inet = request.nest(AF_INET);
    size_t conf = request.nest(IFLA_INET_CONF);
    for (const auto& [type, value] : conf4) request.put_value(type, value);
    request.end(conf);
    request.end(inet);
  }
  if (!link.conf6().empty()) {
    size_t inet6 = request.nest(AF_INET6);
    request.put_value(IFLA_INET6_ADDR_GEN_MODE, kNoAddresses);
    request.end(inet6);
  }
  request.end(families);
  if (!any && conf4.empty() && link.conf6().empty()) return {};
  return socket.run(request, "set");
}

// Settings of the kind, and of the port that the link is of its master.
Result<> set_data(netlink::Socket& socket, const schema::NetLink& link,
                  const schema::NetLink& present, bool of_port) {
  netlink::Request request(RTM_NEWLINK, 0);
  request.header(header_of_link(link.index()));
  size_t info = request.nest(IFLA_LINKINFO);
  request.put_text(of_port ? IFLA_INFO_SLAVE_KIND : IFLA_INFO_KIND,
                   of_port ? link.port_kind() : link.kind());
  size_t data = request.nest(of_port ? IFLA_INFO_SLAVE_DATA : IFLA_INFO_DATA);
  bool any = of_port ? put_differing(link.port(), present.port(), request)
                     : put_differing(link.data(), present.data(), request);
  request.end(data);
  request.end(info);
  return any ? socket.run(request, of_port ? "set as a port" : "set its kind") : Result<>();
}

Result<> set_names(netlink::Socket& socket, const schema::NetLink& link,
                   const schema::NetLink& present) {
  const auto& there = present.other_names();
  for (const std::string& name : link.other_names()) {
    if (std::find(there.begin(), there.end(), name) != there.end()) continue;
    netlink::Request request(RTM_NEWLINKPROP, NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND);
    request.header(header_of_link(link.index()));
    size_t list = request.nest(IFLA_PROP_LIST);
    request.put_text(IFLA_ALT_IFNAME, name);
    request.end(list);
    TRY(socket.run(request, "name"));
  }
  return {};
}

Result<> join_master(netlink::Socket& socket, const schema::NetLink& link) {
  if (link.master() == 0) return {};
  netlink::Request request(RTM_SETLINK, 0);
  request.header(header_of_link(link.index())).put_value(IFLA_MASTER, link.master());
  return socket.run(request, "give it its master");
}

Result<std::map<uint32_t, schema::NetLink>> list_by_index(netlink::Socket& socket) {
  Links links;
  TRY(list_links(socket, &links));
  std::map<uint32_t, schema::NetLink> present;
  for (schema::NetLink& link : links) present[link.index()] = std::move(link);
  return present;
}

bool must_be_brought(const schema::NetLink& link) {
  return link.lower_place() == schema::NET_OUTSIDE;
}

// In the new namespace there may be links that the kernel makes in each (lo, gre0), and what was
// brought from outside. They must be those of the image.
Result<> check_present(const Links& links, const std::map<uint32_t, schema::NetLink>& present) {
  for (const auto& [index, there] : present) {
    const schema::NetLink* link = find_link(links, index);
    const bool may_be_any = link != nullptr && must_be_brought(*link);
    if (link != nullptr && link->name() == there.name() &&
        (may_be_any || link->kind() == there.kind()))
      continue;
    const std::string& name = there.name();
    const bool needed = std::any_of(links.begin(), links.end(), [&](const schema::NetLink& other) {
      return other.name() == name;
    });
    if (link == nullptr && !needed) continue;  // a fallback device more
    return Error(ErrorCode::kSystem,
                 strf("there is a link %s with number %u, which is another one in the image",
                      there.name().c_str(), index));
  }
  return {};
}

}  // namespace

Result<> check_links(const Links& links) {
  if (static_cast<size_t>(links.size()) > kMostLinks)
    return Error::malformed("a network namespace of too many links");
  std::set<std::string> names;
  std::set<uint32_t> indices;
  for (const schema::NetLink& link : links) {
    const LinkKind* kind = find_kind(link.kind());
    bool good = link.index() > 0 && link.index() <= INT32_MAX && good_name(link.name()) &&
                kind != nullptr && names.insert(link.name()).second &&
                indices.insert(link.index()).second;
    if (!good)
      return Error::malformed(strf("link %u is not one that nativecr dumps", link.index()));
    TRY(check(link.attributes(), kLinkTypes, "link"));
    for (const schema::NetAttribute& attribute : link.data())
      if (attribute.value().size() > UINT16_MAX / 2 ||
          !keeps_data(*kind, attribute.type() & NLA_TYPE_MASK))
        return Error::malformed(strf("link %s: setting %u is none that is kept",
                                     link.name().c_str(), attribute.type()));
    TRY(check(link.port(), port_types(link.port_kind()), "port"));
    for (const std::string& name : link.other_names())
      if (name.empty() || name.size() >= 128) return Error::malformed("a name of a link");
  }
  return {};
}

Result<std::vector<const schema::NetLink*>> in_order(const Links& links) {
  std::vector<const schema::NetLink*> ordered;
  std::set<uint32_t> done;
  while (ordered.size() < static_cast<size_t>(links.size())) {
    size_t before = ordered.size();
    for (const schema::NetLink& link : links) {
      if (done.contains(link.index())) continue;
      if (stands_on_another(link) && !done.contains(link.lower())) continue;
      done.insert(link.index());
      ordered.push_back(&link);
    }
    if (ordered.size() == before)
      return Error::malformed("links that stand on each other, or on none");
  }
  return ordered;
}

Result<> make_links(netlink::Socket& socket, const Links& links, const FarEnds& far) {
  std::vector<const schema::NetLink*> ordered = TRY(in_order(links));
  std::map<uint32_t, schema::NetLink> present = TRY(list_by_index(socket));
  TRY(check_present(links, present));
  std::set<uint32_t> there;
  for (const auto& [index, link] : present) there.insert(index);
  for (const schema::NetLink* link : ordered) {
    if (there.contains(link->index())) continue;
    if (must_be_brought(*link))
      return Error::usage(strf("link %s leads outside the tree, and nothing was given in its place",
                               link->name().c_str()));
    TRY_WHILE(make_link(socket, links, *link, far), "link %s", link->name().c_str());
    there.insert(link->index());
    if (link->kind() == "veth" && link->lower_place() == schema::NET_HERE)
      there.insert(link->lower());
  }
  for (const schema::NetLink* link : ordered)
    TRY_WHILE(join_master(socket, *link), "link %s", link->name().c_str());
  present = TRY(list_by_index(socket));
  for (const schema::NetLink* link : ordered) {
    const schema::NetLink& is = present[link->index()];
    const LinkKind* kind = find_kind(link->kind());
    const char* name = link->name().c_str();
    if (kind != nullptr && kind->set_later)
      TRY_WHILE(set_data(socket, *link, is, false), "link %s", name);
    if (link->port_size() > 0) TRY_WHILE(set_data(socket, *link, is, true), "link %s", name);
    TRY_WHILE(set_attributes(socket, *link, is), "link %s", name);
    TRY_WHILE(set_conf6(*link, is), "link %s", name);
    TRY_WHILE(set_names(socket, *link, is), "link %s", name);
  }
  return {};
}

Result<> bring_up(netlink::Socket& socket, const Links& links) {
  for (const schema::NetLink* link : TRY(in_order(links))) {
    ifinfomsg header = header_of_link(link->index());
    header.ifi_flags = link->flags();
    header.ifi_change = IFF_UP | IFF_NOTRAILERS | IFF_NOARP | IFF_PROMISC | IFF_ALLMULTI |
                        IFF_MULTICAST | IFF_DEBUG | IFF_DYNAMIC;
    netlink::Request request(RTM_NEWLINK, 0);
    TRY_WHILE(socket.run(request.header(header), "bring up"), "link %s", link->name().c_str());
  }
  return {};
}

Result<> set_mtus6(const Links& links) {
  for (const schema::NetLink& link : links) {
    const uint32_t mtu = own_mtu6(link.conf6(), find_u32(link.attributes(), IFLA_MTU));
    if (mtu != 0) TRY(write_conf6(link, {"mtu", strf("%u", mtu)}));
  }
  return {};
}

Result<> allow_addresses(netlink::Socket& socket, const Links& links) {
  for (const schema::NetLink& link : links) {
    if (link.conf6().empty()) continue;
    netlink::Request request(RTM_SETLINK, 0);
    request.header(header_of_link(link.index()));
    size_t families = request.nest(IFLA_AF_SPEC);
    size_t inet6 = request.nest(AF_INET6);
    request.put_value(IFLA_INET6_ADDR_GEN_MODE, static_cast<uint8_t>(link.address_mode6()));
    if (link.token6().size() == 16) request.put(IFLA_INET6_TOKEN, link.token6());
    request.end(inet6);
    request.end(families);
    TRY_WHILE(socket.run(request, "IPv6 addresses"), "link %s", link.name().c_str());
  }
  return {};
}

}  // namespace ncr::net_namespace
