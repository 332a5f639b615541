// What an address space as a whole forbids: huge pages (PR_SET_THP_DISABLE) and turning writable
// memory executable (PR_SET_MDWE, Linux 6.3). The kernel keeps both in mm->flags, where only the
// task itself can read them. They are set back after all memory stands: denying executable memory
// cannot be undone and would be in the way of building it.
#include "engine/resources/memory_flags/memory_flags.h"

#include "engine/resources/room.h"

namespace ncr::memory_flags {
namespace {

Result<> plan(const schema::Task& task, StepList& steps) {
  const schema::Memory& memory = task.memory();
  steps.add(wire::Stage::kLate, SetMemoryFlags{.thp_disabled = memory.thp_disabled() ? 1u : 0u,
                                               .deny_exec = memory.mdwe()});
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "memory_flags", .plan = plan};

}  // namespace ncr::memory_flags
