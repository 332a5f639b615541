// The last touch: every thread of a tree gets its registers and is let go. Runs in the coordinator.
#pragma once

#include <optional>
#include <unordered_map>
#include <vector>

#include "engine/memory/restorer_launch.h"
#include "engine/request.h"
#include "engine/restore_plan.h"
#include "engine/tracee/seized_thread.h"
#include "engine/tree/birth_register.h"

namespace ncr {

// How the threads of a tree that is being made are seized: they die with us, and stops at system
// calls are told from traps.
constexpr unsigned long kTraceOptions = PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD;

// All threads but the leader of tasks with seccomp filters, by index of the plan and in the order
// of the record.
using FilteredThreads = std::unordered_map<size_t, std::vector<SeizedThread>>;

// How the threads of this task are seized. Beyond the late steps the coordinator's calls in them,
// and their own last ones, are not the filters' business.
unsigned long trace_options(const schema::Task& task);

// All threads of a task but its leader.
Result<std::vector<SeizedThread>> seize_others(const TaskPlan& plan, pid_t outer);

// Every thread is parked in the restorer. `leaders`: by index of the plan, seized, running; those
// of tasks without one (a leader that has exited) are empty. On failure before the point of no
// return everything stays seized.
Result<> release_tree(const RestorePlan& plan, const SyncPage& sync, const BirthRegister& born,
                      std::vector<std::optional<SeizedThread>>& leaders, FilteredThreads filtered,
                      AfterRestore after);

}  // namespace ncr
