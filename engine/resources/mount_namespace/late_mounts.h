// Mounts that cannot be made with the others: a procfs of a pid namespace below that of the tree's
// root takes a process in there, and what lies below it takes that procfs.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "engine/base/sys.h"
#include "engine/resources/mount_namespace/mount_plan.h"
#include "engine/resources/room.h"

namespace ncr::mount_namespace {

// Descriptors of a table that is being built.
struct BuiltMounts : HalfBuilt {
  std::vector<Fd> mounts;  // by placement: roots of what is in place, or what is to be put there
  std::map<size_t, Fd> points;   // by placement: where one that is late goes
  std::vector<Fd> elsewhere;     // by MountPlan::elsewhere
  std::map<size_t, Fd> sources;  // by placement: the caller's mount whose group it joins

  // Leaves what finish_mounts needs, at `fd_base` or above; false: nothing is late.
  Result<bool> keep_for_later(const MountPlan& plan, int fd_base);
};

// Whether a mount that is late has a part in it.
bool is_late(const MountPlan& plan, const Spread& spread);
Result<> apply(const Spread& spread, const BuiltMounts& built);

// First process of `pid_namespace`, in the mount namespace: puts in place what waited for it.
Result<> finish_mounts(const NamespaceBuild& build, const MountPlan& plan, uint32_t pid_namespace,
                       BuiltMounts& built);

}  // namespace ncr::mount_namespace
