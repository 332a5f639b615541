// What a thread has set about itself with prctl(2): its name, timer slack, the signal it wants when
// its parent dies, how it takes machine checks, whether it may read the time stamp counter, whether
// it is an I/O flusher, and its speculation controls (task_struct). Asked inside every thread.
//
// Not seen by anyone: PR_SET_PTRACER, and the I/O flusher flag without CAP_SYS_RESOURCE (taken as
// not set).
#include "engine/resources/prctl_flags/prctl_flags.h"

#include <cstring>

#include "engine/resources/room.h"

namespace ncr::prctl_flags {
namespace {

void ask_thread(const Task&, const schema::Thread&, Batch& batch) { batch.ask<Get>({}); }

Result<> read_thread(const Task&, const Batch& batch, schema::Thread* record) {
  int error = 0;
  const Get::Reply* reply = batch.find<Get>(&error);
  if (reply == nullptr) return Error::system(error, "prctl in the target");
  const Flags& flags = reply->flags;
  record->set_comm(flags.comm, strnlen(flags.comm, sizeof flags.comm));
  schema::ThreadFlags* out = record->mutable_flags();
  out->set_timer_slack_ns(flags.timer_slack_ns);
  out->set_parent_death_signal(flags.parent_death_signal);
  out->set_mce_kill(flags.mce_kill);
  out->set_tsc(flags.tsc);
  out->set_io_flusher(flags.io_flusher != 0);
  out->set_speculation_store_bypass(flags.speculation_store_bypass);
  out->set_speculation_indirect_branch(flags.speculation_indirect_branch);
  return {};
}

Result<> plan_thread(const schema::Task&, const schema::Thread& thread, StepList& steps) {
  if (!thread.has_flags()) return {};
  const schema::ThreadFlags& wanted = thread.flags();
  Set step{};
  memcpy(step.flags.comm, thread.comm().data(),
         std::min(thread.comm().size(), sizeof step.flags.comm - 1));
  step.flags.timer_slack_ns = wanted.timer_slack_ns();
  step.flags.mce_kill = wanted.mce_kill();
  step.flags.tsc = wanted.tsc();
  step.flags.io_flusher = wanted.io_flusher() ? 1 : 0;
  step.flags.speculation_store_bypass = wanted.speculation_store_bypass();
  step.flags.speculation_indirect_branch = wanted.speculation_indirect_branch();
  steps.add(wire::Stage::kLate, step);
  // A change of credentials clears it, so it comes after them: in the same stage, from a room
  // further down the list. Until then it is ours (engine/tree/birth.cpp), so even none is set.
  steps.add(wire::Stage::kCredentials, SetParentDeathSignal{wanted.parent_death_signal()});
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "prctl_flags",
                               .ask_thread = ask_thread,
                               .read_thread = read_thread,
                               .plan_thread = plan_thread};

}  // namespace ncr::prctl_flags
