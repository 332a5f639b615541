// The alternate stack that a thread takes signals on (task_struct.sas_ss_*). A thread that is on it
// now needs nothing special: "on it" is computed from the stack pointer. With SS_AUTODISARM the
// kernel has disarmed it while a handler runs and arms it again from the signal frame, which is
// memory.
//
// Asked inside every thread: nothing shows it from outside.
#include "engine/resources/signal_stack/signal_stack.h"

#include <csignal>

#include "engine/resources/room.h"

namespace ncr::signal_stack {
namespace {

void ask_thread(const Task&, const schema::Thread&, Batch& batch) { batch.ask<Get>({}); }

Result<> read_thread(const Task&, const Batch& batch, schema::Thread* record) {
  int error = 0;
  const Get::Reply* reply = batch.find<Get>(&error);
  if (reply == nullptr) return Error::system(error, "sigaltstack in the target");
  if ((reply->stack.flags & SS_DISABLE) != 0) return {};
  record->mutable_signal_stack()->set_address(reply->stack.address);
  record->mutable_signal_stack()->set_size(reply->stack.size);
  record->mutable_signal_stack()->set_flags(reply->stack.flags & ~SS_ONSTACK);
  return {};
}

Result<> plan_thread(const schema::Task& task, const schema::Thread& thread, StepList& steps) {
  // Only the leader may have one already: the engine's.
  bool leader = &thread == &task.threads(0);
  Set step{{.address = 0, .flags = SS_DISABLE, .pad = 0, .size = 0}};
  if (thread.has_signal_stack())
    step.stack = {thread.signal_stack().address(), thread.signal_stack().flags(), 0,
                  thread.signal_stack().size()};
  if (leader || thread.has_signal_stack()) steps.add(wire::Stage::kThread, step);
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "signal_stack",
                               .ask_thread = ask_thread,
                               .read_thread = read_thread,
                               .plan_thread = plan_thread};

}  // namespace ncr::signal_stack
