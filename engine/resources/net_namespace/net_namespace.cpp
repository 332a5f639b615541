// Network namespace (struct net): links, addresses, routes, rules, and their sysctls.
#include <sched.h>

#include "engine/resources/room.h"

namespace ncr::net_namespace {

extern const NamespaceRoom kRoom = {
    .name = "net", .kind = schema::Namespace::kNet, .clone_flag = CLONE_NEWNET};

}  // namespace ncr::net_namespace
