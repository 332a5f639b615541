// Who installs which filter of a task being restored. Pure.
#pragma once

#include "engine/restore_plan.h"

namespace ncr::seccomp {

// Whether threads of this task must be traced, their filters suspended, from the late steps until
// they are let go.
bool has_filters(const schema::Task& task);

void plan_filters(const Image& image, TaskPlan& task);

}  // namespace ncr::seccomp
