// From an image to a plan: who is forked by whom (engine/tree/fork_order.h), who makes which file
// (engine/tree/file_owners.h), what the restorer of each task is to do (the rooms). What this
// engine does not offer is refused here, before the first fork. Runs in the coordinator; pure.
#include "engine/restore_plan.h"

#include <unordered_set>

#include "engine/memory/huge_pages.h"
#include "engine/resources/cgroup/cgroup.h"
#include "engine/resources/credentials/entry_plan.h"
#include "engine/resources/room.h"
#include "engine/resources/seccomp/seccomp_plan.h"
#include "engine/resources/tcp_socket/revival.h"
#include "engine/tree/birth_plan.h"
#include "engine/tree/file_owners.h"
#include "engine/tree/fork_order.h"

namespace ncr {
namespace {

Result<> refuse_unsupported(const Image& image) {
  std::unordered_set<pid_t> pids;
  for (const schema::Task& task : image.tasks) pids.insert(task.pid());
  for (const schema::Task& task : image.tasks) {
    if (task.memory().shared_with() != 0)
      return Error::unsupported(strf(
          "task %d (%s) shares its memory with task %d, of which it is not a thread (CLONE_VM)",
          task.pid(), task.comm().c_str(), task.memory().shared_with()));
    if (task.state() != schema::TASK_ZOMBIE && task.threads().empty())
      return Error::malformed(strf("task %d has no thread", task.pid()));
  }
  for (const auto& [id, file] : image.files) {
    if (fd_room_of(file.kind_case()) == nullptr)
      return Error::unsupported(strf("file %u (%s) is of a kind that this engine does not know", id,
                                     file.path().c_str()));
    if (file.owner().pid() > 0 && file.owner().type() == 0 && !pids.contains(file.owner().pid()))
      return Error::unsupported(
          strf("file %u (%s) sends its signals to thread %d, which is not the first of a process",
               id, file.path().c_str(), file.owner().pid()));
  }
  return {};
}

Result<> plan_steps(TaskPlan& task) {
  for (const TaskRoom* room : task_rooms())
    if (room->plan != nullptr)
      TRY_WHILE(room->plan(*task.record, task.steps), "task %d: %s", task.pid, room->name);
  for (const schema::Thread& thread : task.record->threads()) {
    StepList& steps = task.thread_steps.emplace_back();
    for (const TaskRoom* room : task_rooms())
      if (room->plan_thread != nullptr)
        TRY_WHILE(room->plan_thread(*task.record, thread, steps), "thread %d: %s", thread.tid(),
                  room->name);
  }
  return {};
}

// The late steps of a file are run once, by the first task that has it, at its number there.
Result<> plan_late_files(RestorePlan& plan) {
  std::unordered_set<uint32_t> done;
  for (TaskPlan& task : plan.tasks) {
    if (!task.live()) continue;
    for (const schema::Descriptor& descriptor : task.record->descriptors()) {
      if (!done.insert(descriptor.file_id()).second) continue;
      const schema::OpenFile& file = plan.image->files.at(descriptor.file_id());
      const FdRoom* room = fd_room_of(file.kind_case());
      if (room->late != nullptr)
        TRY_WHILE(room->late(file, FdNumber{descriptor.number()}, task.steps), "task %d: fd %d: %s",
                  task.pid, descriptor.number(), room->name);
    }
  }
  return {};
}

}  // namespace

Result<RestorePlan> plan_restore(const Image& image, const RestoreRequest& request) {
  TRY(refuse_unsupported(image));
  TRY(tcp_socket::check_policy(image, request));
  TRY(cgroup::check_image(image));
  TRY(check_huge_pages(image));
  std::vector<const schema::Task*> records;
  for (const schema::Task& task : image.tasks) records.push_back(&task);
  RestorePlan plan;
  plan.image = &image;
  for (const schema::Namespace& record : image.namespaces)
    for (uint32_t id : image.tasks[0].namespaces())
      if (record.id() == id && record.has_pid()) plan.renumbered = true;
  plan.spaces = PidSpaces(image.namespaces, image.tasks.front());
  plan.users = UserSpaces(image.namespaces, image.tasks.front());
  plan.tasks = TRY(plan_forks(records, plan.spaces, request.shell_job));
  TRY(plan_births(&plan));
  TRY(assign_files(image.files, &plan));
  for (TaskPlan& task : plan.tasks)
    if (task.live()) {
      TRY(plan_steps(task));
      TRY(credentials::plan_entry(plan.users, task));
      seccomp::plan_filters(image, task);
    }
  TRY(plan_late_files(plan));
  return plan;
}

}  // namespace ncr
