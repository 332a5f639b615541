// Session and process group of a task: two numbers in its signal struct, inherited at fork.
// setsid() makes both its own; setpgid() moves it between groups of its session; there is no way
// into another session but to be born there (engine/tree/fork_order.h). Controlling terminals
// belong to the tty room. preflight_tree() runs in the engine, the rest in the child.
#include "engine/resources/session/session.h"

#include <linux/kcmp.h>
#include <unistd.h>

#include <unordered_map>

#include "engine/resources/room.h"
#include "engine/tree/fork_order.h"

namespace ncr::session {

namespace {

// Which tasks are reapers is not known before they were asked; it matters only where a plan has a
// choice.
Result<std::vector<TaskPlan>> plan_as(const std::vector<schema::Task>& tasks,
                                      const PidSpaces& spaces, ShellJob shell_job, bool reapers) {
  std::vector<schema::Task> records(tasks.size());
  std::vector<const schema::Task*> pointers;
  for (size_t i = 0; i < tasks.size(); i++) {
    records[i].set_pid(tasks[i].pid());
    records[i].set_ppid(tasks[i].ppid());
    records[i].set_pgid(tasks[i].pgid());
    records[i].set_sid(tasks[i].sid());
    records[i].set_comm(tasks[i].comm());
    *records[i].mutable_namespaces() = tasks[i].namespaces();
    records[i].mutable_flags()->set_child_subreaper(reapers);
    pointers.push_back(&records[i]);
  }
  return plan_forks(pointers, spaces, shell_job);
}

}  // namespace

Result<> preflight_tree(const Task& root, const std::vector<schema::Task>& tasks,
                        const PidSpaces& spaces, ShellJob shell_job, Blockers& blockers) {
  Result<std::vector<TaskPlan>> plan = plan_as(tasks, spaces, shell_job, true);
  if (plan.ok()) return {};
  if (plan.error().code() != ErrorCode::kUnsupported) return plan.take_error();
  if (plan_as(tasks, spaces, shell_job, false).ok()) return {};
  bool outside = root.sid != root.pid && shell_job == ShellJob::kRefuse;
  blockers.add(root, "its session", plan.error().text(), outside ? "--shell-job" : "");
  return {};
}

Result<> preflight_clones(const std::vector<Task>& tasks, Blockers& blockers) {
  std::unordered_map<pid_t, const Task*> living;
  for (const Task& task : tasks) {
    if (!task.alive()) continue;
    // Most of /proc/PID belongs to the first thread, so such a task cannot even be looked at.
    const proc::Stat* stat = TRY(task.stat());
    if (stat->dead())
      return Error::unsupported(
          strf("task %d (%s): its first thread has exited while others run on, which is not "
               "supported; nothing was touched",
               task.pid, task.comm.c_str()));
    living[task.pid] = &task;
  }
  for (const Task& task : tasks) {
    if (!task.alive() || !living.contains(task.ppid)) continue;
    if (TRY(sys::kcmp(task.ppid, task.pid, KCMP_VM, 0, 0)) == 0)
      blockers.add(
          task, "its memory",
          strf("is shared with its parent %d, of which it is not a thread (CLONE_VM, vfork)",
               task.ppid),
          "");
  }
  return {};
}

Result<> lead(const TaskPlan& task) {
  if (task.set_sid)
    TRY(SYSCALL(::setsid(), "setsid"));
  else if (task.founds_group)
    TRY(SYSCALL(::setpgid(0, 0), "setpgid to an own group"));
  return {};
}

Result<> join(pid_t group) {
  if (::getpgrp() != group) TRY(SYSCALL(::setpgid(0, group), "setpgid to group %d", group));
  return {};
}

extern const TaskRoom kRoom = {.name = "session"};

}  // namespace ncr::session
