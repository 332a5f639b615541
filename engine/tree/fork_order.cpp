// The plan of creation of a process tree. A session is inherited at fork and left only by setsid(),
// so the session of a task tells who can have forked it, and when. Tasks whose parent cannot have
// (orphans that came to a reaper) are cloned by their session's leader, or by a helper that takes
// the dead leader's pid: with CLONE_PARENT where that makes the right parent at once, else below
// it, to be reparented to a temporary subreaper. A helper may also have to lead a process group
// whose leader is dead, until its members have joined. Every plan is checked against the model of
// the kernel's rules. Runs in the coordinator; pure.
#include "engine/tree/fork_order.h"

#include <algorithm>
#include <map>

#include "engine/tree/fork_model.h"

namespace ncr {
namespace {

constexpr size_t kNone = static_cast<size_t>(-1);

class ForkPlanner {
 public:
  ForkPlanner(const std::vector<const schema::Task*>& tasks, const PidSpaces& spaces,
              ShellJob shell_job)
      : spaces_(spaces),
        count_(tasks.size()),
        shell_job_(shell_job),
        parent_(count_, kNone),
        depth_(count_, 0),
        birth_sid_(count_, 0) {
    for (const schema::Task* task : tasks) {
      TaskPlan plan;
      plan.record = task;
      plan.pid = task->pid();
      plan.pgid = task->pgid();
      plan.pid_space = spaces.of(*task);
      plan.creator = kNone;
      index_[task->pid()] = plan_.size();
      plan_.push_back(std::move(plan));
    }
  }

  Result<std::vector<TaskPlan>> plan() {
    TRY(find_parents());
    TRY(settle_root());
    demand_birth_sessions();
    for (size_t i = 1; i < count_; i++) TRY(choose_creator(i));
    TRY(place_orphans());
    TRY(lead_dead_groups());
    std::vector<TaskPlan> ordered = TRY(in_order_of_creation());
    TRY(number(ordered));
    TRY(check(ordered));
    return ordered;
  }

 private:
  pid_t sid(size_t i) const { return plan_[i].record->sid(); }
  bool leads_session(size_t i) const { return sid(i) == plan_[i].pid; }
  // The session a task must be born into; 0 if any will do.
  pid_t need(size_t i) const { return leads_session(i) ? birth_sid_[i] : sid(i); }

  Result<> find_parents() {
    for (size_t i = 1; i < count_; i++) {
      auto parent = index_.find(plan_[i].record->ppid());
      if (parent == index_.end() || parent->second >= i)
        return Error::malformed(strf("task %d: its parent %d does not come before it", plan_[i].pid,
                                     plan_[i].record->ppid()));
      parent_[i] = parent->second;
      depth_[i] = depth_[parent_[i]] + 1;
    }
    return {};
  }

  Result<> settle_root() {
    if (leads_session(0)) return {};
    if (shell_job_ == ShellJob::kRefuse)
      return Error::unsupported(
          strf("task %d (%s) belongs to session %d, whose leader is outside the tree: restore it "
               "as a shell job (--shell-job) to "
               "have it take over the session and terminal of the caller",
               plan_[0].pid, plan_[0].record->comm().c_str(), sid(0)));
    // A group that is led from outside becomes the caller's group.
    pid_t outside = plan_[0].pgid;
    if (index_.contains(outside)) return {};
    for (TaskPlan& task : plan_)
      if (task.pgid == outside) task.pgid = 0;
    return {};
  }

  // Whether a child of `i` can inherit this session from it.
  bool offers(size_t i, pid_t session) const {
    return sid(i) == session || (leads_session(i) && birth_sid_[i] == session);
  }
  bool could_offer(size_t i, pid_t session) const {
    for (; i != kNone; i = parent_[i]) {
      if (sid(i) == session) return true;
      if (!leads_session(i)) return false;
    }
    return false;
  }

  // A session leader whose child is of an older session forked it before its own setsid(), so it
  // was itself born into that session; unless it is a reaper, and the child came to it later.
  void demand_birth_sessions() {
    for (size_t child = count_; child-- > 1;) {
      size_t parent = parent_[child];
      pid_t session = need(child);
      if (session == 0 || parent == 0 || !leads_session(parent) || session == sid(parent)) continue;
      if (birth_sid_[parent] != 0) continue;
      bool reaper = plan_[parent].record->flags().child_subreaper();
      if (!reaper || could_offer(parent_[parent], session)) birth_sid_[parent] = session;
    }
  }

  void create(size_t creator, size_t child, bool as_sibling = false) {
    plan_[child].creator = creator;
    plan_[child].as_sibling = as_sibling;
  }

  Result<> choose_creator(size_t i) {
    pid_t session = need(i);
    if (session == 0 || offers(parent_[i], session))
      create(parent_[i], i);
    else
      orphans_[session].push_back(i);
    return {};
  }

  Result<> place_orphans() {
    for (auto& [session, orphans] : orphans_) {
      auto leader = index_.find(session);
      if (leader == index_.end()) {
        TRY(place_below_dead_leader(session, orphans));
      } else {
        for (size_t orphan : orphans) place_below_leader(leader->second, orphan);
      }
    }
    return {};
  }

  void place_below_leader(size_t leader, size_t orphan) {
    if (parent_[leader] == parent_[orphan]) return create(leader, orphan, true);
    auto [found, is_new] = intermediates_.try_emplace({leader, parent_[orphan]}, plan_.size());
    if (is_new) add_helper(0, 0, leader);
    plan_[parent_[orphan]].temporary_subreaper = true;
    create(found->second, orphan);
  }

  Result<> place_below_dead_leader(pid_t session, const std::vector<size_t>& orphans) {
    if (!leads_session(0) && session == sid(0))
      return Error::unsupported(strf(
          "task %d is of session %d, whose leader is outside the tree, but its parent %d is not",
          plan_[orphans[0]].pid, session, plan_[parent_[orphans[0]]].pid));
    size_t place = parent_[orphans[0]];
    for (size_t orphan : orphans)
      if (depth_[parent_[orphan]] > depth_[place]) place = parent_[orphan];
    size_t leader = add_helper(session, session, place);
    plan_[leader].set_sid = true;
    for (size_t orphan : orphans) {
      bool sibling = parent_[orphan] == place;
      create(leader, orphan, sibling);
      if (!sibling) plan_[parent_[orphan]].temporary_subreaper = true;
    }
    return {};
  }

  // pid 0: any.
  size_t add_helper(pid_t pid, pid_t pgid, size_t creator) {
    TaskPlan helper;
    helper.pid = pid;
    helper.pgid = pgid;
    helper.founds_group = pgid != 0;
    helper.helper = true;
    helper.creator = creator;
    plan_.push_back(std::move(helper));
    if (pid != 0) index_[pid] = plan_.size() - 1;
    return plan_.size() - 1;
  }

  // Of those that see the dead leader's number in their own pid namespace.
  size_t deepest_member(pid_t group, size_t first) const {
    size_t deepest = first;
    for (size_t i = first; i < count_; i++)
      if (plan_[i].pgid == group && spaces_.in(plan_[i].pid_space, group) != 0 &&
          spaces_.depth(plan_[i].pid_space) > spaces_.depth(plan_[deepest].pid_space))
        deepest = i;
    return deepest;
  }

  Result<> lead_dead_groups() {
    for (size_t i = 0; i < count_; i++) {
      pid_t group = plan_[i].pgid;
      if (group == 0) continue;
      auto leader = index_.find(group);
      if (leader == index_.end())
        add_helper(group, group, deepest_member(group, i));
      else
        plan_[leader->second].founds_group = true;
    }
    return {};
  }

  // Numbers the plan so that creators come first, and gives each its list of children: those of its
  // first session before those of its own.
  Result<std::vector<TaskPlan>> in_order_of_creation() {
    std::vector<std::vector<size_t>> before(plan_.size()), after(plan_.size());
    for (size_t i = 1; i < plan_.size(); i++) {
      size_t creator = plan_[i].creator;
      if (i < count_) plan_[i].set_sid = leads_session(i);
      bool early = i < count_ && creator < count_ && leads_session(creator) && need(i) != 0 &&
                   need(i) != sid(creator);
      (early ? before : after)[creator].push_back(i);
    }
    plan_[0].set_sid = leads_session(0);
    std::vector<size_t> order = {0}, place(plan_.size(), kNone);
    for (size_t at = 0; at < order.size(); at++) {
      size_t old = order[at];
      place[old] = at;
      order.insert(order.end(), before[old].begin(), before[old].end());
      order.insert(order.end(), after[old].begin(), after[old].end());
    }
    std::vector<TaskPlan> ordered;
    for (size_t at = 0; at < order.size(); at++) {
      size_t old = order[at];
      TaskPlan task = std::move(plan_[old]);
      task.creator = old == 0 ? 0 : place[task.creator];
      task.children_before_setsid = before[old].size();
      for (size_t child : before[old]) task.children.push_back(place[child]);
      for (size_t child : after[old]) task.children.push_back(place[child]);
      ordered.push_back(std::move(task));
    }
    if (ordered.size() != place.size())
      return Error::unsupported(
          "the sessions of the tree refer to each other in a circle: no order of forks can make "
          "it");
    return ordered;
  }

  // A process is born where its creator is, or is the first of a new pid namespace right below.
  Result<> number(std::vector<TaskPlan>& ordered) const {
    for (size_t i = 0; i < ordered.size(); i++) {
      TaskPlan& task = ordered[i];
      const uint32_t of_creator = ordered[task.creator].pid_space;
      if (task.helper) task.pid_space = of_creator;
      if (task.pid == 0) continue;
      task.numbers = spaces_.numbers(task.pid_space, task.pid);
      const bool known = std::count(task.numbers.begin(), task.numbers.end(), 0) == 0;
      const bool begins_it =
          task.numbers.front() == 1 && spaces_.above(task.pid_space) == of_creator;
      if (!known || (i > 0 && task.pid_space != of_creator && !begins_it))
        return Error::unsupported(
            strf("no order of forks makes this process tree: process %d would be born in another "
                 "pid namespace than its own",
                 task.pid));
    }
    return {};
  }

  Result<> check(const std::vector<TaskPlan>& ordered) {
    Result<std::vector<ModelTask>> outcome = play_forks(ordered, spaces_);
    if (!outcome.ok())
      return Error::unsupported(
          strf("no order of forks makes this process tree: %s", outcome.error().text().c_str()));
    for (size_t i = 0; i < ordered.size(); i++) {
      if (ordered[i].helper) continue;
      const schema::Task& record = *ordered[i].record;
      const ModelTask& made = outcome.value()[i];
      bool same_session = made.sid == record.sid() ||
                          (made.sid == kCallersSession && record.sid() == ordered[0].record->sid());
      if ((i > 0 && made.ppid != record.ppid()) || !same_session || made.pgid != ordered[i].pgid)
        return Error::unsupported(
            strf("no order of forks makes this process tree: task %d (%s) with parent %d, session "
                 "%d and group %d would get parent "
                 "%d, session %d and group %d",
                 record.pid(), record.comm().c_str(), record.ppid(), record.sid(), record.pgid(),
                 made.ppid, made.sid, made.pgid));
    }
    return {};
  }

  const PidSpaces& spaces_;
  size_t count_;  // tasks of the image; helpers follow
  ShellJob shell_job_;
  std::vector<TaskPlan> plan_;
  std::map<pid_t, size_t> index_;
  std::vector<size_t> parent_, depth_;
  std::vector<pid_t> birth_sid_;  // of session leaders: the session they must be born into, 0: any
  std::map<pid_t, std::vector<size_t>> orphans_;  // by session
  std::map<std::pair<size_t, size_t>, size_t>
      intermediates_;  // (leader, reaper) -> nameless helper
};

}  // namespace

Result<std::vector<TaskPlan>> plan_forks(const std::vector<const schema::Task*>& tasks,
                                         const PidSpaces& spaces, ShellJob shell_job) {
  if (tasks.empty()) return Error::malformed("the image holds no task");
  return ForkPlanner(tasks, spaces, shell_job).plan();
}

}  // namespace ncr
