// Filters on system calls (task_struct.seccomp). A filtered thread may kill itself on our first
// call, and the filters of other tasks can be read by CAP_SYS_ADMIN only: not done yet, so refused
// by name.
#include "engine/resources/room.h"

namespace ncr::seccomp {
namespace {

Result<> preflight(const Task& task, Blockers& blockers) {
  for (const SeizedThread& thread : task.threads) {
    const ThreadStatus* status = TRY(task.status(thread.tid()));
    if (status->status.seccomp == 0) continue;
    blockers.add(task, strf("thread %d", thread.tid()),
                 status->status.seccomp == 1 ? "is in seccomp strict mode" : "has seccomp filters",
                 "run it without seccomp (for containers: seccomp=unconfined)");
    break;
  }
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "seccomp", .preflight = preflight};

}  // namespace ncr::seccomp
