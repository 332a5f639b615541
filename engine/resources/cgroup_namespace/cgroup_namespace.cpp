// Cgroup namespace (struct cgroup_namespace): the cgroup that is shown as the root of its
// hierarchy.
#include <sched.h>

#include "engine/resources/room.h"

namespace ncr::cgroup_namespace {

extern const NamespaceRoom kRoom = {
    .name = "cgroup", .kind = schema::Namespace::kCgroup, .clone_flag = CLONE_NEWCGROUP};

}  // namespace ncr::cgroup_namespace
