// What the kernel has tracked of connections (conntrack).
#pragma once

#include "engine/resources/net_namespace/net_links.h"

namespace ncr::net_namespace {

// Dump, on a thread in the namespace: nothing if nothing is tracked.
Result<> dump_connections(Repeated<schema::NetObject>* connections, Refusals* refusals);
Result<> check_connections(const Repeated<schema::NetObject>& connections);  // pure
Result<> build_connections(const Repeated<schema::NetObject>& connections);

}  // namespace ncr::net_namespace
