// Which pid namespace a procfs shows, and what follows for when its mounts are made
// (docs/adr/0017).
#pragma once

#include "engine/resources/room.h"

namespace ncr::mount_namespace {

// Dump, in the mount namespace: notes those that show one below that of the tree's root.
void find_shown_pid_namespaces(const NamespaceProbe& probe, schema::MountNamespace* table);

// The pid namespace whose first process builds these mounts; 0: the root task does. Pure.
uint32_t builder_of(const schema::Namespace& mounts);

}  // namespace ncr::mount_namespace
