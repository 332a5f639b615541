// How the kernel schedules a thread: policy, nice, real-time priority or deadline, the CPUs it may
// run on, its I/O priority (task_struct, io_context). All of it can be asked from outside by tid.
// Since 6.12 the runtime of an ordinary thread is its slice, which cannot be told from the default
// one.
#include "engine/resources/scheduling/scheduling.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/resources/room.h"

namespace ncr::scheduling {
namespace {

constexpr int kIoprioWhoProcess = 1;

Result<> look_thread(const Task&, const SeizedThread& thread, schema::Thread* record) {
  KernelSchedAttr attributes{};
  TRY(SYSCALL(::syscall(SYS_sched_getattr, thread.tid(), &attributes, sizeof attributes, 0),
              "sched_getattr of thread %d", thread.tid()));
  char mask[kMaxAffinity];
  long mask_size = TRY(SYSCALL(::syscall(SYS_sched_getaffinity, thread.tid(), sizeof mask, mask),
                               "sched_getaffinity of thread %d", thread.tid()));
  int io_priority =
      static_cast<int>(TRY(SYSCALL(::syscall(SYS_ioprio_get, kIoprioWhoProcess, thread.tid()),
                                   "ioprio_get of thread %d", thread.tid())));
  schema::Scheduling* out = record->mutable_scheduling();
  out->set_policy(static_cast<int32_t>(attributes.policy));
  out->set_priority(static_cast<int32_t>(attributes.priority));
  out->set_nice(attributes.nice);
  out->set_flags(attributes.flags);
  out->set_runtime_ns(attributes.runtime);
  out->set_deadline_ns(attributes.deadline);
  out->set_period_ns(attributes.period);
  out->set_affinity(mask, static_cast<size_t>(mask_size));
  out->set_io_priority(io_priority);
  return {};
}

Result<> plan_thread(const schema::Task&, const schema::Thread& thread, StepList& steps) {
  if (!thread.has_scheduling()) return {};
  const schema::Scheduling& wanted = thread.scheduling();
  if (wanted.affinity().size() > kMaxAffinity)
    return Error::malformed(strf("the CPU mask of thread %d is too long", thread.tid()));
  Set step{};
  step.attributes = {.size = sizeof(KernelSchedAttr),
                     .policy = static_cast<uint32_t>(wanted.policy()),
                     .flags = wanted.flags(),
                     .nice = wanted.nice(),
                     .priority = static_cast<uint32_t>(wanted.priority()),
                     .runtime = wanted.runtime_ns(),
                     .deadline = wanted.deadline_ns(),
                     .period = wanted.period_ns()};
  step.io_priority = wanted.io_priority();
  step.affinity_size = static_cast<uint32_t>(wanted.affinity().size());
  steps.add(wire::Stage::kLate, step, wanted.affinity());
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {
    .name = "scheduling", .look_thread = look_thread, .plan_thread = plan_thread};

}  // namespace ncr::scheduling
