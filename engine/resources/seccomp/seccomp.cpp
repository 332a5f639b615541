// Restrictions on system calls (task_struct.seccomp): strict mode, or filters, per thread and never
// taken off again. A dump gathers the programs in a table of its own (filter_table.h), since a
// whole tree may have the same.
//
// They are installed among the late steps, while the engine's rights are still there: a program may
// have given up CAP_SYS_ADMIN after it installed them. From then until it is let go, the thread is
// ours to use only because the coordinator traces it with PTRACE_O_SUSPEND_SECCOMP
// (engine/tree/half_tree.cpp). Filters that all threads have in common are installed once, by the
// leader for all: a later SECCOMP_FILTER_FLAG_TSYNC of the program asks that they are one chain.
#include "engine/resources/seccomp/seccomp.h"

#include <linux/seccomp.h>

#include <algorithm>

#include "engine/resources/room.h"
#include "engine/resources/seccomp/seccomp_plan.h"

namespace ncr::seccomp {
namespace {

constexpr size_t kInstructionSize = 8;  // struct sock_filter
constexpr uint32_t kSpecAllow = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
constexpr uint32_t kLog = SECCOMP_FILTER_FLAG_LOG;
constexpr uint32_t kForAllThreads = SECCOMP_FILTER_FLAG_TSYNC;

// The flag that a dump cannot see is always set: without it the kernel may turn speculation off,
// and what the thread had of that is restored by itself.
void install(const schema::SeccompFilter& filter, uint32_t flags, StepList& steps) {
  flags |= kSpecAllow;
  if (filter.log()) flags |= kLog;
  steps.add(wire::Stage::kLate,
            Install{flags, static_cast<uint32_t>(filter.program().size() / kInstructionSize)},
            filter.program());
}

int common_filters(const schema::Task& task) {
  int common = task.threads(0).seccomp_filters_size();
  for (const schema::Thread& thread : task.threads()) {
    const auto& first = task.threads(0).seccomp_filters();
    common = std::min(common, thread.seccomp_filters_size());
    common = static_cast<int>(
        std::mismatch(first.begin(), first.begin() + common, thread.seccomp_filters().begin())
            .first -
        first.begin());
  }
  return common;
}

}  // namespace

bool has_filters(const schema::Task& task) {
  return std::any_of(task.threads().begin(), task.threads().end(),
                     [](const schema::Thread& thread) { return thread.seccomp_mode() != 0; });
}

void plan_filters(const Image& image, TaskPlan& task) {
  const schema::Task& record = *task.record;
  if (!has_filters(record)) return;
  // A leader that is to exit is not traced, so it may not have any.
  const int common = record.dead_leader() ? 0 : common_filters(record);
  const uint32_t for_all = record.threads_size() > 1 ? kForAllThreads : 0;
  for (int i = 0; i < common; i++)
    install(image.seccomp_filters.at(record.threads(0).seccomp_filters(i)), for_all, task.steps);
  for (int i = record.dead_leader() ? 1 : 0; i < record.threads_size(); i++) {
    const schema::Thread& thread = record.threads(i);
    StepList& steps = task.thread_steps[static_cast<size_t>(i)];
    for (int at = common; at < thread.seccomp_filters_size(); at++)
      install(image.seccomp_filters.at(thread.seccomp_filters(at)), 0, steps);
    if (thread.seccomp_mode() == SECCOMP_MODE_STRICT)
      steps.add(wire::Stage::kLate, EnterStrictMode{});
  }
}

extern const TaskRoom kRoom = {.name = "seccomp"};

}  // namespace ncr::seccomp
