#include "engine/tree/fork_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "engine/tree/fork_model.h"

namespace ncr {
namespace {

struct Given {
  pid_t pid, ppid, pgid, sid;
  bool zombie = false;
  bool reaper = false;
};

std::vector<schema::Task> records(const std::vector<Given>& tasks) {
  std::vector<schema::Task> made;
  for (const Given& given : tasks) {
    schema::Task task;
    task.set_pid(given.pid);
    task.set_ppid(given.ppid);
    task.set_pgid(given.pgid);
    task.set_sid(given.sid);
    if (given.zombie) task.set_state(schema::TASK_ZOMBIE);
    task.mutable_flags()->set_child_subreaper(given.reaper);
    made.push_back(task);
  }
  return made;
}

Result<std::vector<TaskPlan>> plan(const std::vector<schema::Task>& tasks,
                                   ShellJob shell_job = ShellJob::kRefuse) {
  std::vector<const schema::Task*> pointers;
  for (const schema::Task& task : tasks) pointers.push_back(&task);
  return plan_forks(pointers, PidSpaces(), shell_job);
}

const TaskPlan& at(const std::vector<TaskPlan>& plan, pid_t pid) {
  return *std::find_if(plan.begin(), plan.end(),
                       [&](const TaskPlan& task) { return task.pid == pid; });
}

// The planner checks its own plans against the model; this says which processes the model ends
// with.
std::map<pid_t, ModelTask> outcome(const std::vector<TaskPlan>& plan) {
  Result<std::vector<ModelTask>> played = play_forks(plan, PidSpaces());
  EXPECT_TRUE(played.ok()) << played.error().text();
  std::map<pid_t, ModelTask> made;
  for (size_t i = 0; i < plan.size(); i++)
    if (!plan[i].helper) made[plan[i].pid] = played.value()[i];
  return made;
}

TEST(fork_order, a_leader_forks_its_children_after_its_setsid) {
  auto tasks = records({{100, 0, 100, 100}, {101, 100, 101, 100}, {102, 101, 101, 100}});
  auto made = plan(tasks);
  ASSERT_TRUE(made.ok()) << made.error().text();
  EXPECT_TRUE(made.value()[0].set_sid);
  EXPECT_EQ(made.value()[0].children_before_setsid, 0u);
  EXPECT_EQ(outcome(made.value())[102].sid, 100);
}

TEST(fork_order, a_child_older_than_its_parents_session_is_forked_before_setsid) {
  auto tasks = records(
      {{100, 0, 100, 100}, {101, 100, 101, 101}, {102, 101, 100, 100}, {103, 101, 101, 101}});
  auto made = plan(tasks);
  ASSERT_TRUE(made.ok()) << made.error().text();
  EXPECT_EQ(at(made.value(), 101).children_before_setsid, 1u);
  EXPECT_EQ(outcome(made.value())[102].sid, 100);
}

TEST(fork_order, an_orphan_of_a_dead_session_leader_is_cloned_by_a_helper_with_the_leaders_pid) {
  auto tasks = records({{100, 0, 100, 100, false, true}, {103, 100, 102, 102}});
  auto made = plan(tasks);
  ASSERT_TRUE(made.ok()) << made.error().text();
  const TaskPlan& helper = at(made.value(), 102);
  EXPECT_TRUE(helper.helper);
  EXPECT_TRUE(helper.set_sid);
  EXPECT_TRUE(at(made.value(), 103).as_sibling);
  EXPECT_FALSE(made.value()[0].temporary_subreaper);
  EXPECT_EQ(outcome(made.value())[103].ppid, 100);
}

TEST(fork_order, an_orphan_of_a_living_leader_elsewhere_is_cloned_by_that_leader) {
  auto tasks =
      records({{100, 0, 100, 100, false, true}, {101, 100, 101, 101}, {105, 100, 101, 101}});
  auto made = plan(tasks);
  ASSERT_TRUE(made.ok()) << made.error().text();
  EXPECT_EQ(made.value().size(), 3u) << "no helper is needed";
  EXPECT_TRUE(at(made.value(), 105).as_sibling);
}

TEST(fork_order, an_orphan_from_deep_below_comes_back_through_a_temporary_subreaper) {
  auto tasks = records({{100, 0, 100, 100, false, true},
                        {101, 100, 100, 100},
                        {102, 101, 102, 102},
                        {105, 100, 102, 102}});
  auto made = plan(tasks);
  ASSERT_TRUE(made.ok()) << made.error().text();
  EXPECT_TRUE(made.value()[0].temporary_subreaper);
  EXPECT_EQ(outcome(made.value())[105].ppid, 100);
  EXPECT_EQ(outcome(made.value())[105].sid, 102);
}

TEST(fork_order, a_group_whose_leader_is_dead_gets_a_helper_to_lead_it) {
  auto tasks = records({{100, 0, 100, 100}, {101, 100, 99, 100}, {102, 100, 99, 100}});
  auto made = plan(tasks);
  ASSERT_TRUE(made.ok()) << made.error().text();
  EXPECT_TRUE(at(made.value(), 99).helper);
  EXPECT_FALSE(at(made.value(), 99).set_sid);
  EXPECT_EQ(outcome(made.value())[102].pgid, 99);
}

TEST(fork_order, a_group_whose_leader_went_to_another_is_founded_and_left) {
  auto tasks = records({{100, 0, 100, 100}, {101, 100, 100, 100}, {102, 100, 101, 100}});
  auto made = plan(tasks);
  ASSERT_TRUE(made.ok()) << made.error().text();
  EXPECT_TRUE(at(made.value(), 101).founds_group);
  EXPECT_EQ(outcome(made.value())[101].pgid, 100);
  EXPECT_EQ(outcome(made.value())[102].pgid, 101);
}

TEST(fork_order, a_zombie_session_leader_fathers_its_session) {
  auto tasks =
      records({{100, 0, 100, 100, false, true}, {101, 100, 101, 101, true}, {102, 100, 101, 101}});
  auto made = plan(tasks);
  ASSERT_TRUE(made.ok()) << made.error().text();
  EXPECT_EQ(made.value().size(), 3u);
  EXPECT_EQ(at(made.value(), 102).creator, 1u);
}

TEST(fork_order, a_root_of_a_foreign_session_is_refused_by_name) {
  auto tasks = records({{100, 0, 100, 50}});
  auto made = plan(tasks);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(made.error().text().find("--shell-job"), std::string::npos);
}

TEST(fork_order, a_shell_job_takes_the_callers_session_and_keeps_its_own_group) {
  auto tasks = records({{100, 0, 100, 50}, {101, 100, 100, 50}, {102, 100, 102, 102}});
  auto made = plan(tasks, ShellJob::kInheritTerminal);
  ASSERT_TRUE(made.ok()) << made.error().text();
  EXPECT_EQ(outcome(made.value())[101].sid, kCallersSession);
  EXPECT_EQ(outcome(made.value())[101].pgid, 100);
}

TEST(fork_order, a_group_led_from_outside_becomes_the_callers) {
  auto tasks =
      records({{100, 0, 60, 50}, {101, 100, 60, 50}, {102, 100, 102, 50}, {103, 102, 60, 50}});
  auto made = plan(tasks, ShellJob::kInheritTerminal);
  ASSERT_TRUE(made.ok()) << made.error().text();
  EXPECT_EQ(at(made.value(), 103).pgid, 0);
  EXPECT_EQ(made.value().size(), 4u);
}

TEST(fork_order, a_thousand_children_are_planned_in_one_go) {
  std::vector<Given> given = {{1000, 0, 1000, 1000}};
  for (pid_t pid = 1001; pid <= 2000; pid++) given.push_back({pid, 1000, 1000, 1000});
  auto made = plan(records(given));
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made.value()[0].children.size(), 1000u);
}

// ---- Trees with a past: any history of fork, setsid, setpgid and exit must be restorable.

class History {
 public:
  History(unsigned seed, bool other_reapers) : random_(seed), other_reapers_(other_reapers) {
    all_.push_back({.given = {100, 0, 100, 100, false, true}});
  }

  std::vector<Given> live(int events) {
    for (int i = 0; i < events; i++) happen();
    std::vector<Given> tasks;
    emit(0, &tasks);
    return tasks;
  }

 private:
  struct Process {
    Given given;
    size_t parent = 0;
    bool gone = false;
  };

  size_t pick_running() {
    for (;;) {
      size_t i = random_() % all_.size();
      if (!all_[i].gone && !all_[i].given.zombie) return i;
    }
  }

  void happen() {
    size_t i = pick_running();
    switch (random_() % 8) {
      case 0:
      case 1:
      case 2:
        return fork(i);
      case 3:
        return set_session(all_[i].given);
      case 4:
        return set_group(all_[i].given);
      case 5:
        return exit(i);
      case 6:
        if (other_reapers_ && random_() % 4 == 0) all_[i].given.reaper = true;
        return;
      default:
        return exit(i);
    }
  }

  void fork(size_t i) {
    Process child = all_[i];
    child.given.pid = next_pid_++;
    child.given.ppid = all_[i].given.pid;
    child.given.reaper = false;
    child.parent = i;
    all_.push_back(child);
  }

  void set_session(Given& task) {
    if (task.pgid == task.pid) return;
    for (const Process& other : all_)
      if (!other.gone && other.given.pgid == task.pid) return;
    task.sid = task.pgid = task.pid;
  }

  void set_group(Given& task) {
    if (task.sid == task.pid) return;
    if (random_() % 2 == 0) {
      task.pgid = task.pid;
      return;
    }
    const Process& other = all_[random_() % all_.size()];
    if (!other.gone && other.given.sid == task.sid) task.pgid = other.given.pgid;
  }

  void exit(size_t i) {
    if (i == 0) return;
    size_t reaper = all_[i].parent;
    while (!all_[reaper].given.reaper) reaper = all_[reaper].parent;
    for (size_t child = 0; child < all_.size(); child++) {
      if (child == 0 || all_[child].parent != i) continue;
      all_[child].parent = reaper;
      all_[child].given.ppid = all_[reaper].given.pid;
      if (all_[child].given.zombie) all_[child].gone = true;
    }
    all_[i].given.zombie = true;
    all_[i].gone = random_() % 3 != 0;
  }

  void emit(size_t i, std::vector<Given>* tasks) {
    tasks->push_back(all_[i].given);
    for (size_t child = 1; child < all_.size(); child++)
      if (all_[child].parent == i && !all_[child].gone) emit(child, tasks);
  }

  std::mt19937 random_;
  bool other_reapers_;
  std::vector<Process> all_;
  pid_t next_pid_ = 101;
};

void expect_restorable(const std::vector<Given>& tasks, unsigned seed) {
  auto image = records(tasks);
  auto made = plan(image);
  ASSERT_TRUE(made.ok()) << "history " << seed << ": " << made.error().text();
  auto after = outcome(made.value());
  ASSERT_EQ(after.size(), tasks.size());
  for (const Given& task : tasks) {
    EXPECT_EQ(after[task.pid].ppid, task.ppid) << "history " << seed << ", task " << task.pid;
    EXPECT_EQ(after[task.pid].sid, task.sid) << "history " << seed << ", task " << task.pid;
    EXPECT_EQ(after[task.pid].pgid, task.pgid) << "history " << seed << ", task " << task.pid;
  }
}

TEST(fork_order, every_history_below_one_reaper_is_restorable) {
  for (unsigned seed = 0; seed < 500; seed++)
    expect_restorable(History(seed, false).live(60), seed);
}

TEST(fork_order, histories_with_several_reapers_are_restorable_or_refused_by_name) {
  int refused = 0;
  for (unsigned seed = 0; seed < 500; seed++) {
    auto image = records(History(seed, true).live(60));
    auto made = plan(image);
    if (made.ok()) continue;
    refused++;
    EXPECT_EQ(made.error().code(), ErrorCode::kUnsupported) << made.error().text();
  }
  EXPECT_LT(refused, 25);
}

}  // namespace
}  // namespace ncr
