// Mounts of cgroup hierarchies in a tree with a cgroup namespace of its own.
#pragma once

#include "cgroup_namespace.pb.h"
#include "mount_namespace.pb.h"

namespace ncr::mount_namespace {

// What shows no more than the cgroup namespace does is to be made within it, with its root as "/":
// where that lies is decided anew by every restore. What shows more stays as it is. Pure.
void see_from(const schema::CgroupNamespace& space, schema::MountNamespace* table);

}  // namespace ncr::mount_namespace
