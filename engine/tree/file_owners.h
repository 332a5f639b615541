// Which process makes which open file (docs/adr/0004). Pure.
#pragma once

#include <unordered_map>
#include <vector>

#include "engine/restore_plan.h"

namespace ncr {

// Fills in owned_files, shares_files, exe_fd, user_fd, procfs_fd of the plan and its
// service_fd_base.
// kUnsupported: a descriptor table is shared by tasks that are not parent and child.
Result<> assign_files(const std::unordered_map<uint32_t, schema::OpenFile>& files,
                      RestorePlan* plan);

}  // namespace ncr
