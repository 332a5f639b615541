// How a task comes into a user namespace below that of the tree's root (docs/adr/0018). Pure.
#pragma once

#include "engine/restore_plan.h"

namespace ncr::credentials {

// Adds the entry to the steps of a task that is in one, and numbers its credentials as that does.
Result<> plan_entry(const UserSpaces& users, TaskPlan& task);

// Takes the ids and groups of the task's first thread, and keeps all rights. Whoever calls is in
// `space`.
Result<> become(const UserSpaces& users, uint32_t space, const schema::Task& task);

}  // namespace ncr::credentials
