// The set of signals a thread blocks (task_struct.blocked). A thread that waits in sigsuspend,
// ppoll, pselect or epoll_pwait has a temporary mask there and its real one aside;
// PTRACE_GETSIGMASK gives the real one, and the call is issued again with its own mask argument
// after the restore.
//
// Runs in the engine, with the thread stopped, before anything of ours blocks signals. The restore
// sets the mask by ptrace (docs/adr/0002).
#include "engine/resources/room.h"

namespace ncr::signal_mask {
namespace {

Result<> look_thread(const Task&, const SeizedThread& thread, schema::Thread* record) {
  record->set_signal_mask(TRY(thread.signal_mask()));
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "signal_mask", .look_thread = look_thread};

}  // namespace ncr::signal_mask
