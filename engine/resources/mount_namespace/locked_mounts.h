// What the user namespace that a mount namespace belongs to may not change of its mounts, because
// they came from above (mount_namespaces(7)).
#pragma once

#include <vector>

#include "engine/resources/mount_namespace/mount_table.h"
#include "engine/resources/room.h"

namespace ncr::mount_namespace {

// Dump, in the namespace: into the mounts of `table`, which was made of `lines`; names what cannot
// be made again.
void find_locks(const NamespaceProbe& probe, const std::vector<MountLine>& lines,
                schema::MountNamespace* table, std::vector<Refusal>* refusals);

// Whether a mount came from above, or is a copy of one that did. Pure.
bool is_inherited(const schema::Mount& mount);
// Which file systems were mounted by the owner; what of the locks is no state that a restore could
// bring about. Pure.
void judge_locks(schema::MountNamespace* table, std::vector<Refusal>* refusals);

}  // namespace ncr::mount_namespace
