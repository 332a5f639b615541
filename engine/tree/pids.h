// Process numbers of this machine: whether those of an image are free, and who has one that is not.
// Runs in the coordinator and in children.
#pragma once

#include <sys/types.h>

#include <string>

#include "engine/base/result.h"
#include "engine/restore_plan.h"

namespace ncr {

// Every pid and tid of the plan is free now; or names the first that is not, and who has it.
Result<> check_pids_free(const RestorePlan& plan);
// "process 7 (sleep)", "thread 9 of process 7 (sleep)", "a process group or session", for messages.
std::string holder_of(pid_t pid);
// The `attempt`-th number that is worth a try for a process that may have any: high, and not of the
// image.
Result<pid_t> spare_pid(const RestorePlan& plan, int attempt);

}  // namespace ncr
