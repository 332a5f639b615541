// What the kernel makes of a fork plan: fork, setsid, setpgid, exit and reparenting played through
// without a kernel. Pure.
#pragma once

#include <vector>

#include "engine/base/result.h"
#include "engine/restore_plan.h"

namespace ncr {

constexpr pid_t kCallersSession = -1;  // what the root is born into

struct ModelTask {
  pid_t pid = 0;   // 0 for a nameless helper
  pid_t ppid = 0;  // 0 for the root; -1: of a process outside
  pid_t pgid = 0;
  pid_t sid = 0;
};

// The state after every helper has exited, by index of the plan. An error says which call the
// kernel would refuse.
Result<std::vector<ModelTask>> play_forks(const std::vector<TaskPlan>& plan,
                                          const PidSpaces& spaces);

}  // namespace ncr
