// What may be in a network namespace and cannot be made again.
#pragma once

#include "engine/resources/net_namespace/net_links.h"

namespace ncr::net_namespace {

// Dump, on a thread in the namespace: names IPsec states and policies, and VLANs of bridges.
void refuse_what_is_not_kept(const Repeated<schema::NetLink>& links, Refusals* refusals);

}  // namespace ncr::net_namespace
