// Sessions and process groups.
#pragma once

#include <vector>

#include "engine/resources/blockers.h"
#include "engine/restore_plan.h"
#include "engine/tree/frozen_tree.h"
#include "engine/tree/pid_spaces.h"

namespace ncr::session {

// Dump, before anything is touched: a tree whose sessions no order of forks can make again, or
// whose session is led from outside.
// `tasks`: their numbers, sessions, groups and namespaces.
Result<> preflight_tree(const Task& root, const std::vector<schema::Task>& tasks,
                        const PidSpaces& spaces, ShellJob shell_job, Blockers& blockers);

// The same for two relations of processes that are not restored: memory shared by processes that
// are not threads of each other, and a process whose first thread has exited while others run on.
Result<> preflight_clones(const std::vector<Task>& tasks, Blockers& blockers);

// Runs in the child, between its two rounds of forks: its own session or group.
Result<> lead(const TaskPlan& task);
// Runs in the child, when every process exists: the group it belongs to.
Result<> join(pid_t group);

}  // namespace ncr::session
