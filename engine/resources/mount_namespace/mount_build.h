// Builds the mounts of a namespace (root task, which has just unshared it).
#pragma once

#include "engine/image/image_reader.h"
#include "engine/resources/mount_namespace/mount_plan.h"

namespace ncr::mount_namespace {

// Afterwards the new root is "/" and the working directory, and nothing of the old table is left.
// `own`: the table the plan was made with.
Result<> build_mounts(const Image& image, const MountPlan& plan, const std::vector<MountLine>& own);

}  // namespace ncr::mount_namespace
