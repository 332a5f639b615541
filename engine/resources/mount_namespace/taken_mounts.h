// Copies of the caller's mounts: in which order they are reached, and those that only the caller's
// privileges can make.
#pragma once

#include <functional>
#include <vector>

#include "engine/base/sys.h"
#include "engine/resources/mount_namespace/mount_plan.h"

namespace ncr::mount_namespace {

// Lines of a table with what is mounted on them before them. Pure.
std::vector<size_t> children_first(const std::vector<MountLine>& table);
// The root of the mount that `line` of this mount namespace tells of. What covers it is unmounted:
// it was taken before.
Result<Fd> open_mount(const MountLine& line);

// Copies of the caller's mounts that the plan asks for, not put in place anywhere, by placement.
// Invalid where the root task finds them itself. `plan` is made with the table it is given, that
// of a copy of the caller's mount namespace. Runs on a thread of the coordinator.
using MakePlan = std::function<Result<MountPlan>(const std::vector<MountLine>& own)>;
Result<std::vector<Fd>> take_mounts(const MakePlan& plan);

}  // namespace ncr::mount_namespace
