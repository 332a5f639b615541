// In which order, and by whom, the processes of a tree are created so that each ends with its
// parent, session and group. Pure.
//
// creator: the process that clones another one. It is the parent, or (as_sibling) the new one is
// cloned with CLONE_PARENT and becomes a child of
//   the creator's parent.
// orphan: a task whose session its parent cannot give it: it was born below someone who died, and
// came to a reaper. helper: a process that takes the place of such a dead one (of a session leader
// or a group leader, with its pid; or of anyone else) and exits when
//   every process exists and every group is joined.
#pragma once

#include <vector>

#include "engine/base/result.h"
#include "engine/request.h"
#include "engine/restore_plan.h"
#include "engine/tree/pid_spaces.h"

namespace ncr {

// `tasks`: parents before children, tasks[0] is the root. Fills in everything of a TaskPlan that
// has to do with forking.
Result<std::vector<TaskPlan>> plan_forks(const std::vector<const schema::Task*>& tasks,
                                         const PidSpaces& spaces, ShellJob shell_job);

}  // namespace ncr
