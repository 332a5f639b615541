// Values below /proc/sys/net of a namespace, but for those of single links (link_conf.h) and of
// neighbour tables (neighbour_settings.h).
#pragma once

#include <string>
#include <vector>

#include "engine/base/fd.h"
#include "engine/resources/net_namespace/net_record.h"

namespace ncr::net_namespace {

// Those that can be written in the namespace, opened: most of the time it takes to read them goes
// by there.
struct OpenSysctl {
  std::string name;
  Fd file;
};

// Dump, on a thread in the namespace. What a fresh namespace starts with is known where one is
// made, not here: so all of them, some four hundred.
Result<std::vector<OpenSysctl>> open_sysctls();
void read_sysctls(const std::vector<OpenSysctl>& opened, Repeated<schema::NetSysctl>* sysctls);
Result<> read_sysctls(Repeated<schema::NetSysctl>* sysctls);  // one after the other
// Of links that make their addresses from one.
Result<> read_secrets(const Repeated<schema::NetLink>& links, Repeated<schema::NetSysctl>* sysctls);
Result<> check_sysctls(const Repeated<schema::NetSysctl>& sysctls);  // pure
// Restore, root task: those that differ.
Result<> write_sysctls(const Repeated<schema::NetSysctl>& sysctls);

}  // namespace ncr::net_namespace
