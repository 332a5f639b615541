// The order of things in a network namespace (engine, on a thread in it; root task; a process
// beside the coordinator). Values that new links inherit come before the links, links before
// addresses, addresses before the routes that the kernel derives from them. Rules for packets come
// when the tree's sockets are there: those are made with packets of our own, which no rule of the
// tree's is to drop, count or track.
#include "engine/resources/net_namespace/net_content.h"

#include <linux/if.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "engine/resources/net_namespace/bridge_groups.h"
#include "engine/resources/net_namespace/connections.h"
#include "engine/resources/net_namespace/firewall.h"
#include "engine/resources/net_namespace/neighbour_settings.h"
#include "engine/resources/net_namespace/net_objects.h"
#include "engine/resources/net_namespace/not_kept.h"
#include "engine/resources/net_namespace/queueing.h"
#include "engine/resources/net_namespace/sets.h"
#include "engine/tree/closed_network.h"

namespace ncr::net_namespace {

namespace {

Result<> dump_by_netlink(const std::vector<Neighbourhood>& others,
                         const std::vector<External>& externals, schema::NetNamespace* record,
                         Refusals* refusals) {
  netlink::Socket socket = TRY(netlink::Socket::open(NETLINK_ROUTE));
  TRY(dump_links(socket, others, externals, record, refusals));
  TRY(dump_queueing(socket, record, refusals));
  refuse_what_is_not_kept(record->links(), refusals);
  TRY(dump_bridge_groups(socket, record, refusals));
  TRY(dump_sets(record->mutable_sets()));
  TRY(list_objects(socket, ObjectKind::kAddress, record->mutable_addresses()));
  TRY(list_objects(socket, ObjectKind::kNexthop, record->mutable_nexthops()));
  TRY(list_objects(socket, ObjectKind::kRoute, record->mutable_routes()));
  TRY(list_objects(socket, ObjectKind::kRule, record->mutable_rules()));
  TRY(list_objects(socket, ObjectKind::kNeighbour, record->mutable_neighbours()));
  TRY(list_neighbour_settings(socket, record->mutable_neighbour_settings()));
  TRY(dump_firewall(record, refusals));
  return dump_connections(record->mutable_connections(), refusals);
}

}  // namespace

Result<> dump_content(const std::vector<Neighbourhood>& others,
                      const std::vector<External>& externals, const std::vector<OpenSysctl>& opened,
                      schema::NetNamespace* record, Refusals* refusals) {
  TRY(dump_by_netlink(others, externals, record, refusals));
  if (opened.empty())
    TRY(read_sysctls(record->mutable_sysctls()));
  else
    read_sysctls(opened, record->mutable_sysctls());
  return read_secrets(record->links(), record->mutable_sysctls());
}

Result<> check_content(const schema::NetNamespace& record) {
  TRY(check_links(record.links()));
  TRY(in_order(record.links()));
  TRY(check_objects(ObjectKind::kAddress, record.addresses()));
  TRY(check_objects(ObjectKind::kNexthop, record.nexthops()));
  TRY(check_objects(ObjectKind::kRoute, record.routes()));
  TRY(check_objects(ObjectKind::kRule, record.rules()));
  TRY(check_objects(ObjectKind::kNeighbour, record.neighbours()));
  TRY(check_neighbour_settings(record.neighbour_settings()));
  TRY(check_queueing(record));
  TRY(check_bridge_groups(record.bridge_groups()));
  TRY(check_sets(record.sets()));
  TRY(check_firewall(record));
  TRY(check_connections(record.connections()));
  return check_sysctls(record.sysctls());
}

Result<> build_content(const schema::NetNamespace& record, const FarEnds& far) {
  TRY(check_content(record));
  netlink::Socket socket = TRY(netlink::Socket::open(NETLINK_ROUTE));
  TRY(write_sysctls(record.sysctls()));
  TRY(make_links(socket, record.links(), far));
  TRY(build_queueing(socket, record));
  TRY(build_sets(record.sets()));  // the firewall names them
  const bool later = has_rules(record) && close_network(families_of(record)).ok();
  // What cannot be closed has its rules before a link is up.
  if (!later) TRY(build_firewall(record));
  TRY(set_neighbour_settings(socket, record.neighbour_settings()));
  TRY(bring_up(socket, record.links()));
  TRY(set_mtus6(record.links()));
  TRY(build_bridge_groups(socket, record.bridge_groups()));
  TRY(make_equal(socket, ObjectKind::kAddress, record.addresses()));
  TRY(make_equal(socket, ObjectKind::kNexthop, record.nexthops()));
  TRY(make_equal(socket, ObjectKind::kRoute, record.routes()));
  TRY(make_equal(socket, ObjectKind::kRule, record.rules()));
  TRY(make_equal(socket, ObjectKind::kNeighbour, record.neighbours()));
  if (!later) TRY(build_connections(record.connections()));
  return allow_addresses(socket, record.links());
}

Result<> build_rules(const schema::NetNamespace& record) {
  if (!has_rules(record) || !TRY(is_network_closed())) return {};
  TRY(build_firewall(record));
  TRY(build_connections(record.connections()));
  return open_network(families_of(record));
}

Result<> build_empty() {
  netlink::Socket socket = TRY(netlink::Socket::open(NETLINK_ROUTE));
  netlink::Request request(RTM_NEWLINK, 0);
  ifinfomsg lo{};
  lo.ifi_index = 1;
  lo.ifi_flags = lo.ifi_change = IFF_UP;
  return socket.run(request.header(lo), "bring up lo");
}

}  // namespace ncr::net_namespace
