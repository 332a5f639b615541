// Multicast groups of bridges that somebody has set (bridge mdb). (engine, on a thread in the
// namespace; root task)
#pragma once

#include "engine/resources/net_namespace/net_links.h"

namespace ncr::net_namespace {

// The links of the record are there.
Result<> dump_bridge_groups(netlink::Socket& socket, schema::NetNamespace* record,
                            Refusals* refusals);
Result<> check_bridge_groups(const Repeated<schema::NetObject>& groups);  // pure
// Once the bridges are up.
Result<> build_bridge_groups(netlink::Socket& socket, const Repeated<schema::NetObject>& groups);

}  // namespace ncr::net_namespace
