// Builds the mounts of a namespace (root task, which has just unshared it).
#pragma once

#include "engine/resources/mount_namespace/mount_plan.h"
#include "engine/resources/room.h"

namespace ncr::mount_namespace {

// Afterwards the new root is "/" and the working directory, and nothing of the old table is left.
// `own`: the table the plan was made with. Uses up NamespaceBuild::taken.
Result<> build_mounts(const NamespaceBuild& build, const MountPlan& plan,
                      const std::vector<MountLine>& own);

}  // namespace ncr::mount_namespace
