// Which mounts share what is mounted below them, and which take it from others. Said when all are
// in place, masters before those that follow them. Pure.
#pragma once

#include "engine/resources/mount_namespace/earlier_mounts.h"
#include "engine/resources/mount_namespace/mount_plan.h"

namespace ncr::mount_namespace {

// For the placements of the plan, whose sources are known. A placement that joins a group does not
// keep the master of its source.
Result<> plan_spreads(const EarlierMounts& earlier, MountPlan* plan);

}  // namespace ncr::mount_namespace
