// Sets of addresses (ipset), which rules of iptables look things up in. (engine, on a thread in the
// namespace; root task)
#pragma once

#include "engine/resources/net_namespace/net_record.h"

namespace ncr::net_namespace {

Result<> dump_sets(Repeated<schema::NetSet>* sets);
Result<> check_sets(const Repeated<schema::NetSet>& sets);  // pure
// Before the rules that name them.
Result<> build_sets(const Repeated<schema::NetSet>& sets);

}  // namespace ncr::net_namespace
