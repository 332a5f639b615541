// Mounts that show a namespace (ip netns, nsenter's --net=FILE).
#pragma once

#include "engine/resources/mount_namespace/mount_calls.h"
#include "engine/resources/mount_namespace/mount_table.h"
#include "engine/resources/room.h"

namespace ncr::mount_namespace {

// Into the mounts of `table`, which was made of `lines`: which namespace each shows.
void find_bound_namespaces(const NamespaceProbe& probe, const std::vector<MountLine>& lines,
                           const std::vector<MountLine>& own, schema::MountNamespace* table,
                           std::vector<Refusal>* refusals);
// Of one that has a namespace_kind; not put in place anywhere.
Result<Fd> copy_bound_namespace(const NamespaceBuild& build, const schema::Mount& mount);

}  // namespace ncr::mount_namespace
