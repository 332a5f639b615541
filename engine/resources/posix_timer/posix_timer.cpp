// Timers of timer_create(2) (signal_struct.posix_timers). /proc/PID/timers tells how each was made;
// the time left and the overruns only the process itself can ask for. Userspace keeps the kernel's
// number of a timer (glibc's timer_t is made from it), so it is created again under the same
// number.
//
// Not seen by anyone: which thread made a CLOCK_THREAD_CPUTIME_ID timer (it becomes the leader's),
// and the overruns that a signal still pending would report beyond its siginfo.
#include "engine/resources/posix_timer/posix_timer.h"

#include <algorithm>

#include "engine/resources/posix_timer/timer_list.h"
#include "engine/resources/room.h"

namespace ncr::posix_timer {
namespace {

constexpr uint64_t kNano = 1'000'000'000;
constexpr char kFile[] = "timers";

void read_ahead(const Task& task) { (void)task.proc_text(kFile); }

Result<std::vector<schema::PosixTimer>> timers_of(const Task& task) {
  const std::string* text = TRY(task.proc_text(kFile));
  return parse_timers(*text);
}

Result<> preflight(const Task& task, Blockers& blockers) {
  std::vector<schema::PosixTimer> timers = TRY(timers_of(task));
  if (timers.size() > kMaxTimers)
    blockers.add(task, strf("%zu POSIX timers", timers.size()),
                 strf("more than %u timers of one process are not supported", kMaxTimers));
  return {};
}

Result<> look(const Task& task, schema::Task* record) {
  std::vector<schema::PosixTimer> timers = TRY(timers_of(task));
  if (timers.size() > kMaxTimers) return {};  // preflight refuses the task
  for (schema::PosixTimer& timer : timers) *record->add_posix_timers() = std::move(timer);
  return {};
}

void ask(const Task&, const schema::Task& record, Batch& batch) {
  if (record.posix_timers().empty()) return;
  Get::Request request{};
  for (const schema::PosixTimer& timer : record.posix_timers())
    request.ids[request.count++] = timer.id();
  batch.ask<Get>(request);
}

Result<> read(const Task&, const Batch& batch, schema::Task* record) {
  if (record->posix_timers().empty()) return {};
  int error = 0;
  const Get::Reply* reply = batch.find<Get>(&error);
  if (reply == nullptr) return Error::system(error, "timer_gettime in the target");
  const Get::State* state = reply->timers;
  for (schema::PosixTimer& timer : *record->mutable_posix_timers()) {
    timer.set_value_ns(static_cast<uint64_t>(state->left.value_s) * kNano +
                       static_cast<uint64_t>(state->left.value_ns));
    timer.set_interval_ns(static_cast<uint64_t>(state->left.interval_s) * kNano +
                          static_cast<uint64_t>(state->left.interval_ns));
    timer.set_overrun(static_cast<int32_t>(state->overrun));
    state++;
  }
  return {};
}

Result<> plan(const schema::Task& record, StepList& steps) {
  for (const schema::PosixTimer& timer : record.posix_timers()) {
    Create step{};
    step.id = timer.id();
    step.clock = timer.clock();
    step.notify = timer.notify();
    step.signal = timer.signal();
    step.user_value = timer.user_value();
    step.thread = timer.thread();
    step.left = {static_cast<int64_t>(timer.interval_ns() / kNano),
                 static_cast<int64_t>(timer.interval_ns() % kNano),
                 static_cast<int64_t>(timer.value_ns() / kNano),
                 static_cast<int64_t>(timer.value_ns() % kNano)};
    steps.add(wire::Stage::kLate, step);
  }
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "posix_timer",
                               .read_ahead = read_ahead,
                               .preflight = preflight,
                               .look = look,
                               .ask = ask,
                               .read = read,
                               .plan = plan};

}  // namespace ncr::posix_timer
