// A veth whose other end was outside the tree, a macvlan on a link of the host, a device of the
// host (coordinator, in the caller's network namespace: only from there links can be made or taken
// that the tree itself, perhaps in a user namespace of its own, has no right to). The inner end is
// born in the tree's namespace, with the number and the name it had; its settings come later, from
// the root task. Instead of any of them a link of the host that is there already may be given; what
// was moved falls back to the host when the tree's namespace ends.
#include "engine/resources/net_namespace/links_from_outside.h"

#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

namespace ncr::net_namespace {
namespace {

constexpr const char* kDevice = "netdev";

bool leads_outside(const schema::NetLink& link) {
  return link.lower_place() == schema::NET_OUTSIDE;
}

const char* kind_of_request(const schema::NetLink& link) {
  if (link.kind() == "veth") return "veth";
  return link.kind().empty() ? kDevice : "macvlan";
}

const External* given_for(const schema::NetLink& link, const RestoreRequest& request) {
  for (const External& external : request.externals)
    if (external.object == link.name() &&
        (external.kind == kind_of_request(link) || external.kind == kDevice))
      return &external;
  return nullptr;
}

ifinfomsg header_of_link(uint32_t index) {
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(index);
  return header;
}

Result<uint32_t> index_of(netlink::Socket& socket, const std::string& name) {
  netlink::Request request(RTM_GETLINK, 0);
  request.header(ifinfomsg{}).put_text(IFLA_IFNAME, name);
  Result<netlink::Reply> reply = socket.get(request, name.c_str());
  if (!reply.ok() && reply.error().os_error() == ENODEV)
    return Error::usage(strf("there is no link %s here", name.c_str()));
  if (!reply.ok()) return reply.take_error();
  return static_cast<uint32_t>(reply.value().header<ifinfomsg>().ifi_index);
}

void put_inner(const schema::NetLink& link, const Fd& target, netlink::Request& request) {
  request.put_text(IFLA_IFNAME, link.name());
  request.put_value(IFLA_NET_NS_FD, static_cast<uint32_t>(target.get()));
  for (uint16_t type : {IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES, IFLA_ADDRESS, IFLA_MTU})
    if (const std::string* value = find(link.attributes(), type); value && !value->empty())
      request.put(type, *value);
}

Result<> make_veth(netlink::Socket& socket, const schema::NetLink& link, const Outside& outside,
                   const Fd& target) {
  uint32_t bridge = 0;
  if (!outside.bridge.empty()) bridge = TRY(index_of(socket, outside.bridge));
  // The inner end is the one that is asked for: only that gets a number of our choice.
  netlink::Request make(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  make.header(header_of_link(link.index()));
  put_inner(link, target, make);
  size_t info = make.nest(IFLA_LINKINFO);
  make.put_text(IFLA_INFO_KIND, "veth");
  size_t data = make.nest(IFLA_INFO_DATA);
  size_t peer = make.nest(VETH_INFO_PEER);
  make.header(header_of_link(0)).put_text(IFLA_IFNAME, outside.name);
  make.end(peer);
  make.end(data);
  make.end(info);
  TRY(socket.run(make, outside.name.c_str()));
  ifinfomsg up = header_of_link(TRY(index_of(socket, outside.name)));
  up.ifi_flags = up.ifi_change = IFF_UP;
  netlink::Request bring_up(RTM_NEWLINK, 0);
  bring_up.header(up);
  if (bridge != 0) bring_up.put_value(IFLA_MASTER, bridge);
  return socket.run(bring_up, outside.name.c_str());
}

Result<> make_macvlan(netlink::Socket& socket, const schema::NetLink& link,
                      const std::string& host_link, const Fd& target) {
  netlink::Request make(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  make.header(header_of_link(link.index()));
  put_inner(link, target, make);
  make.put_value(IFLA_LINK, TRY(index_of(socket, host_link)));
  size_t info = make.nest(IFLA_LINKINFO);
  make.put_text(IFLA_INFO_KIND, link.kind());
  size_t data = make.nest(IFLA_INFO_DATA);
  put(link.data(), make);
  make.end(data);
  make.end(info);
  return socket.run(make, "macvlan");
}

// A device cannot be moved while it is up under its name.
Result<> move_device(netlink::Socket& socket, const schema::NetLink& link,
                     const std::string& host_name, const Fd& target) {
  ifinfomsg down = header_of_link(TRY(index_of(socket, host_name)));
  down.ifi_change = IFF_UP;
  netlink::Request take_down(RTM_NEWLINK, 0);
  TRY(socket.run(take_down.header(down), host_name.c_str()));
  down.ifi_change = 0;
  netlink::Request move(RTM_NEWLINK, 0);
  move.header(down).put_text(IFLA_IFNAME, link.name());
  move.put_value(IFLA_NET_NS_FD, static_cast<uint32_t>(target.get()));
  move.put_value(IFLA_NEW_IFINDEX, link.index());
  return socket.run(move, host_name.c_str());
}

}  // namespace

Outside parse_outside(std::string_view value) {
  size_t at = value.find('@');
  if (at == std::string_view::npos) return {std::string(value), ""};
  return {std::string(value.substr(0, at)), std::string(value.substr(at + 1))};
}

bool leads_outside(const schema::NetNamespace& record) {
  for (const schema::NetLink& link : record.links())
    if (leads_outside(link)) return true;
  return false;
}

Result<> check_outside(const schema::NetNamespace& record, const RestoreRequest& request) {
  for (const schema::NetLink& link : record.links())
    if (leads_outside(link) && given_for(link, request) == nullptr)
      return Error::usage(
          strf("link %s leads outside the tree: name what takes its place, "
               "--external %s[%s]:NAME",
               link.name().c_str(), kind_of_request(link), link.name().c_str()));
  return {};
}

static Result<> bring(netlink::Socket& socket, const schema::NetLink& link, const External& given,
                      const Fd& target) {
  if (given.kind == kDevice) return move_device(socket, link, given.value, target);
  if (link.kind() == "veth") return make_veth(socket, link, parse_outside(given.value), target);
  return make_macvlan(socket, link, given.value, target);
}

Result<> bring_links(const schema::NetNamespace& record, const RestoreRequest& request,
                     const Fd& target) {
  TRY(check_outside(record, request));
  netlink::Socket socket = TRY(netlink::Socket::open(NETLINK_ROUTE));
  for (const schema::NetLink& link : record.links()) {
    if (!leads_outside(link)) continue;
    const External* given = given_for(link, request);
    TRY_WHILE(bring(socket, link, *given, target), "link %s, %s outside", link.name().c_str(),
              given->value.c_str());
  }
  return {};
}

}  // namespace ncr::net_namespace
