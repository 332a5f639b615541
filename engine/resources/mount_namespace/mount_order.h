// In which order the mounts of a table are put in place: parents first, of several at one parent
// those with the longest way, and overlays last, when the directories that they name are there.
// Pure.
#pragma once

#include <string>
#include <vector>

#include "engine/resources/mount_namespace/mount_plan.h"

namespace ncr::mount_namespace {

// Without sources. kMalformed: the record is no tree.
Result<std::vector<Placement>> order_mounts(const schema::MountNamespace& record);

bool climbs(const std::string& path);  // has a ".."

}  // namespace ncr::mount_namespace
