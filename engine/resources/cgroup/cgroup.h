// What dump and restore share of cgroups, v1 and v2.
#pragma once

#include <string>

#include "engine/image/image_reader.h"

namespace ncr::cgroup {

// The text of /proc/PID/cgroup as one in that cgroup namespace reads it. `proc`: /proc/PID.
Result<std::string> memberships_seen_from(const Fd& cgroup_namespace, const Fd& proc);

// What checksums cannot vouch for. Pure.
Result<> check_image(const Image& image);

}  // namespace ncr::cgroup
