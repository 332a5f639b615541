// Which pid namespace a procfs shows, and what follows for when its mounts are made
// (docs/adr/0017).
#pragma once

#include "engine/resources/room.h"

namespace ncr::mount_namespace {

// Dump, in the mount namespace: notes those that show one below that of the tree's root.
void find_shown_pid_namespaces(const NamespaceProbe& probe, schema::MountNamespace* table);

// Whether some have to wait for the first process of `pid_namespace`; 0: of any. Pure.
bool has_late_mounts(const schema::Namespace& mounts, uint32_t pid_namespace = 0);

}  // namespace ncr::mount_namespace
