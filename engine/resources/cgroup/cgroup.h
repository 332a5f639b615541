// The cgroups of a tree, v1 and v2: which there are, and who is in which.
#pragma once

#include <vector>

#include "cgroup.pb.h"
#include "engine/image/image_reader.h"
#include "engine/request.h"
#include "engine/resources/blockers.h"

namespace ncr::cgroup {

// Dump, the tree stopped. `records`: of the tasks, in the same order; their ids are filled in.
// Nothing is recorded of a hierarchy in which the whole tree is where this thread is.
Result<> dump(const std::vector<Task>& tasks, CgroupMode mode, std::vector<schema::Task>& records,
              std::vector<schema::CgroupHierarchy>* hierarchies, Blockers& blockers);

// The text of /proc/PID/cgroup as one in that cgroup namespace reads it. `proc`: /proc/PID.
Result<std::string> memberships_seen_from(const Fd& cgroup_namespace, const Fd& proc);

// What checksums cannot vouch for. Pure.
Result<> check_image(const Image& image);

}  // namespace ncr::cgroup
