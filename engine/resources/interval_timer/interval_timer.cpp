// The three timers of setitimer(2) and alarm(2) (signal_struct). What is kept is the time that is
// left: time spent frozen, on disk and restoring does not count, so they are armed in a late stage.
// Asked inside the target; fork clears them, so a timer that is not armed needs no step.
#include "engine/resources/interval_timer/interval_timer.h"

#include "engine/resources/room.h"

namespace ncr::interval_timer {
namespace {

constexpr int64_t kMicro = 1'000'000;

void ask(const Task&, const schema::Task&, Batch& batch) { batch.ask<Get>({}); }

Result<> read(const Task&, const Batch& batch, schema::Task* record) {
  int error = 0;
  const Get::Reply* reply = batch.find<Get>(&error);
  if (reply == nullptr) return Error::system(error, "getitimer in the target");
  for (uint32_t which = 0; which < kTimers; which++) {
    const KernelItimerval& timer = reply->timers[which];
    int64_t value = timer.value_s * kMicro + timer.value_us;
    int64_t interval = timer.interval_s * kMicro + timer.interval_us;
    // Expired, and its signal not taken yet: the kernel arms the next round when the signal is.
    if (value == 0) value = interval;
    if (value == 0) continue;
    schema::IntervalTimer* out = record->add_interval_timers();
    out->set_which(which);
    out->set_value_us(static_cast<uint64_t>(value));
    out->set_interval_us(static_cast<uint64_t>(interval));
  }
  return {};
}

Result<> plan(const schema::Task& record, StepList& steps) {
  for (const schema::IntervalTimer& timer : record.interval_timers()) {
    auto interval = static_cast<int64_t>(timer.interval_us());
    auto value = static_cast<int64_t>(timer.value_us());
    if (timer.which() >= kTimers || interval < 0 || value < 0)
      return Error::malformed(
          strf("interval timer %u of task %d does not exist", timer.which(), record.pid()));
    steps.add(
        wire::Stage::kLate,
        Arm{timer.which(), {interval / kMicro, interval % kMicro, value / kMicro, value % kMicro}});
  }
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "interval_timer", .ask = ask, .read = read, .plan = plan};

}  // namespace ncr::interval_timer
