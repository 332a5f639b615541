// The files of a namespace's file systems that are in memory, and of those that must be empty.
#pragma once

#include "engine/resources/mount_namespace/mountinfo.h"
#include "engine/resources/room.h"

namespace ncr::mount_namespace {

// Dump, on a thread that has entered the namespace. `lines`, `brought`: what `record` was made
// from.
Result<> read_content(const NamespaceProbe& probe, const std::vector<MountLine>& lines,
                      const MountLine* brought, schema::MountNamespace* record, Blockers& blockers);

}  // namespace ncr::mount_namespace
