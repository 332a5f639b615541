// Values below /proc/sys/net of a namespace, but for those of single links (link_conf.h) and of
// neighbour tables (neighbour_settings.h).
#pragma once

#include "engine/resources/net_namespace/net_record.h"

namespace ncr::net_namespace {

// Dump, on a thread in the namespace. Those that can be written there, whatever they are: what a
// fresh namespace starts with is known where one is made, not here. They are some four hundred
// files, so there are two halves: what new links inherit, and the rest.
Result<> read_sysctls_of_links(Repeated<schema::NetSysctl>* sysctls);
Result<> read_sysctls_of_protocols(const Repeated<schema::NetLink>& links,
                                   Repeated<schema::NetSysctl>* sysctls);
Result<> check_sysctls(const Repeated<schema::NetSysctl>& sysctls);  // pure
// Restore, root task: those that differ.
Result<> write_sysctls(const Repeated<schema::NetSysctl>& sysctls);

}  // namespace ncr::net_namespace
