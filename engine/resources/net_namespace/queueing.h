// Queueing disciplines that somebody chose, and their classes (tc). (engine, on a thread in the
// namespace; root task)
#pragma once

#include "engine/resources/net_namespace/net_links.h"

namespace ncr::net_namespace {

Result<> dump_queueing(netlink::Socket& socket, schema::NetNamespace* record, Refusals* refusals);
Result<> check_queueing(const schema::NetNamespace& record);  // pure
// Once the links are there, and before they are up.
Result<> build_queueing(netlink::Socket& socket, const schema::NetNamespace& record);

}  // namespace ncr::net_namespace
