// In which user namespace each process is born, and which of its numbers its creator may choose
// (docs/adr/0018). Pure.
#pragma once

#include "engine/restore_plan.h"

namespace ncr {

// Fills in born_user, chosen_levels and chosen_for_threads; needs the forks, spaces and users of
// the plan. kUnsupported: a process that would be born where it cannot come from.
Result<> plan_births(RestorePlan* plan);

}  // namespace ncr
