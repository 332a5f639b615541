// The process that a pidfd names. Pure.
#pragma once

#include <sys/types.h>

#include <string>

#include "engine/base/result.h"

namespace ncr::pidfd {

// Text of /proc/PID/fdinfo/N: the process's number, as the reader's /proc numbers it; 0 if it is
// gone.
Result<pid_t> parse_pid(const std::string& fdinfo);

}  // namespace ncr::pidfd
