// The kernel's rules for sessions and groups (kernel/fork.c, kernel/sys.c setsid and setpgid,
// kernel/exit.c find_new_reaper), as far as a restore uses them. The planner checks its own plans
// against this before anything is created. Runs in the coordinator; pure.
#include "engine/tree/fork_model.h"

#include <map>

namespace ncr {
namespace {

constexpr size_t kOutside = static_cast<size_t>(-1);

class Model {
 public:
  Model(const std::vector<TaskPlan>& plan, const PidSpaces& spaces)
      : plan_(plan),
        spaces_(spaces),
        tasks_(plan.size()),
        parents_(plan.size(), kOutside),
        born_(plan.size(), false) {}

  Result<std::vector<ModelTask>> play() {
    TRY(birth(0, kCallersSession, 0));
    // A process meets its own calls in order, whatever the others do, so one order of all is as
    // good as another.
    for (size_t i = 0; i < plan_.size(); i++) TRY(live(i));
    for (bool founders : {false, true})
      for (size_t i = 0; i < plan_.size(); i++)
        if (plan_[i].founds_group == founders) TRY(join_group(i));
    for (size_t i = 0; i < plan_.size(); i++)
      if (plan_[i].helper) orphan_children_of(i);
    for (size_t i = 0; i < plan_.size(); i++)
      tasks_[i].ppid = i == 0 ? 0 : parents_[i] == kOutside ? -1 : plan_[parents_[i]].pid;
    return tasks_;
  }

 private:
  Result<> birth(size_t index, pid_t sid, pid_t pgid) {
    if (born_[index])
      return Error::malformed(strf("task %d would be created twice", plan_[index].pid));
    born_[index] = true;
    tasks_[index] = {plan_[index].pid, 0, pgid, sid};
    return {};
  }

  Result<> live(size_t index) {
    const TaskPlan& task = plan_[index];
    if (!born_[index]) return Error::malformed(strf("task %d would have no creator", task.pid));
    TRY(fork_children(index, 0, task.children_before_setsid));
    if (task.set_sid) {
      if (tasks_[index].pgid == task.pid)
        return Error::malformed(strf("task %d: setsid() of a group leader", task.pid));
      tasks_[index].sid = tasks_[index].pgid = task.pid;
    } else if (task.founds_group) {
      tasks_[index].pgid = task.pid;
    }
    if (tasks_[index].pgid == task.pid) groups_[task.pid] = tasks_[index].sid;
    return fork_children(index, task.children_before_setsid, task.children.size());
  }

  Result<> fork_children(size_t index, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
      size_t child = plan_[index].children[i];
      if (child <= index)
        return Error::malformed(strf("task %d comes before its creator", plan_[child].pid));
      TRY(birth(child, tasks_[index].sid, tasks_[index].pgid));
      parents_[child] = plan_[child].as_sibling ? parents_[index] : index;
      if (parents_[child] == kOutside)
        return Error::malformed(strf("task %d would be born outside the tree", plan_[child].pid));
    }
    return {};
  }

  Result<> join_group(size_t index) {
    const TaskPlan& task = plan_[index];
    if (task.helper || tasks_[index].pgid == task.pgid) return {};
    // It has what it inherited: setpgid(2) knows the groups of one's own pid namespace only.
    if (task.pgid != 0 && spaces_.in(task.pid_space, task.pgid) == 0) return {};
    if (task.pgid == 0) {
      if (tasks_[index].sid != kCallersSession)
        return Error::malformed(strf("task %d cannot join a group outside its session", task.pid));
    } else {
      auto group = groups_.find(task.pgid);
      if (group == groups_.end() || group->second != tasks_[index].sid)
        return Error::malformed(
            strf("task %d: no process group %d in its session", task.pid, task.pgid));
    }
    tasks_[index].pgid = task.pgid;
    return {};
  }

  void orphan_children_of(size_t helper) {
    size_t reaper = parents_[helper];
    while (reaper != kOutside && !plan_[reaper].temporary_subreaper) reaper = parents_[reaper];
    for (size_t i = 0; i < plan_.size(); i++)
      if (parents_[i] == helper) parents_[i] = reaper;
  }

  const std::vector<TaskPlan>& plan_;
  const PidSpaces& spaces_;
  std::vector<ModelTask> tasks_;
  std::vector<size_t> parents_;
  std::vector<bool> born_;
  std::map<pid_t, pid_t> groups_;  // group -> its session
};

}  // namespace

Result<std::vector<ModelTask>> play_forks(const std::vector<TaskPlan>& plan,
                                          const PidSpaces& spaces) {
  return Model(plan, spaces).play();
}

}  // namespace ncr
