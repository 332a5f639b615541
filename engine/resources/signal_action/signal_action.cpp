// What a process does on each of its 64 signals (sighand_struct, shared by its threads). Handlers,
// flags and the signal return trampoline are addresses in the target, so they are carried over as
// they are. A signal at its default has nothing else that matters, except SIGCHLD, whose
// SA_NOCLDWAIT and SA_NOCLDSTOP count.
//
// Asked inside the target, since no file shows handlers; /proc/PID/status says which signals are
// worth asking.
#include "engine/resources/signal_action/signal_action.h"

#include <csignal>

#include "engine/resources/room.h"

namespace ncr::signal_action {
namespace {

Result<> look(const Task& task, schema::Task* record) {
  const ThreadStatus* status = TRY(task.status(task.pid));
  uint64_t wanted = status->status.ignored | status->status.caught | 1ull << (SIGCHLD - 1);
  for (uint32_t number = 1; number <= kSignals; number++)
    if ((wanted >> (number - 1) & 1) != 0) record->add_signal_actions()->set_number(number);
  return {};
}

void ask(const Task&, const schema::Task& record, Batch& batch) {
  Get::Request request{};
  for (const schema::SignalAction& action : record.signal_actions())
    request.wanted |= 1ull << (action.number() - 1);
  batch.ask<Get>(request);
}

Result<> read(const Task&, const Batch& batch, schema::Task* record) {
  int error = 0;
  const Get::Reply* reply = batch.find<Get>(&error);
  if (reply == nullptr) return Error::system(error, "rt_sigaction in the target");
  for (schema::SignalAction& action : *record->mutable_signal_actions()) {
    const KernelSigaction& kernel = reply->actions[action.number() - 1];
    action.set_handler(kernel.handler);
    action.set_flags(kernel.flags);
    action.set_restorer(kernel.restorer);
    action.set_mask(kernel.mask);
  }
  return {};
}

Result<> plan(const schema::Task& record, StepList& steps) {
  std::string tail;
  uint64_t count = 0;
  uint64_t last = 0;
  for (const schema::SignalAction& action : record.signal_actions()) {
    if (action.number() <= last || action.number() > kSignals)
      return Error::malformed(
          strf("signal action %u of task %d is out of order", action.number(), record.pid()));
    last = action.number();
    Numbered entry{last, {action.handler(), action.flags(), action.restorer(), action.mask()}};
    tail.append(reinterpret_cast<const char*>(&entry), sizeof entry);
    count++;
  }
  steps.add(wire::Stage::kProcess, Set{count}, tail);
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {
    .name = "signal_action", .look = look, .ask = ask, .read = read, .plan = plan};

}  // namespace ncr::signal_action
