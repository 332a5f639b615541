// How neighbours are looked for on a link: net.ipv4.neigh.NAME.* and net.ipv6.neigh.NAME.*, as
// rtnetlink tells and takes them (RTM_GETNEIGHTBL). What links start with is the machine's.
#pragma once

#include "engine/resources/net_namespace/net_record.h"

namespace ncr::net_namespace {

Result<> list_neighbour_settings(netlink::Socket& socket, Repeated<schema::NetObject>* settings);
Result<> check_neighbour_settings(const Repeated<schema::NetObject>& settings);  // pure
Result<> set_neighbour_settings(netlink::Socket& socket, const Repeated<schema::NetObject>& wanted);

}  // namespace ncr::net_namespace
