// Builds the mounts of a namespace (root task, which has just unshared it).
#pragma once

#include <functional>

#include "engine/image/image_reader.h"
#include "engine/resources/mount_namespace/mount_plan.h"

namespace ncr::mount_namespace {

// Where the calling thread is, by id of the namespace.
using EnterNamespace = std::function<Result<>(uint32_t)>;

// Afterwards the new root is "/" and the working directory, and nothing of the old table is left.
// `own`: the table the plan was made with. `enter` goes to namespaces that were built before, and
// back to this one, `id`.
Result<> build_mounts(const Image& image, const MountPlan& plan, const std::vector<MountLine>& own,
                      const EnterNamespace& enter, uint32_t id);

}  // namespace ncr::mount_namespace
