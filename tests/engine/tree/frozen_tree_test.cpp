// Trees that fork, exit, stop and hang while they are frozen. Root is needed only to trace what is
// not ours.
#include "engine/tree/frozen_tree.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

proc::Status status_of(pid_t pid, pid_t tid) {
  return MUST(proc::parse_status(test::file_text(strf("/proc/%d/task/%d/status", pid, tid))));
}

char state_of(pid_t pid) { return status_of(pid, pid).state; }

std::vector<pid_t> descendants(pid_t root) {
  std::vector<pid_t> found;
  for (pid_t child : test::children_of(root)) {
    found.push_back(child);
    for (pid_t below : descendants(child)) found.push_back(below);
  }
  return found;
}

std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> tids;
  for (const auto& entry : std::filesystem::directory_iterator(strf("/proc/%d/task", pid)))
    tids.push_back(std::atoi(entry.path().filename().c_str()));
  return tids;
}

// Waits until the condition holds; a test that hangs fails.
template <class F>
bool eventually(F condition) {
  for (int i = 0; i < 5000; i++) {
    if (condition()) return true;
    ::usleep(1000);
  }
  return false;
}

class FrozenTreeTest : public testing::Test {
 protected:
  void SetUp() override {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    std::fflush(nullptr);
  }
  void TearDown() override { test::kill_descendants(); }

  template <class F>
  pid_t spawn(F body) {
    pid_t pid = ::fork();
    if (pid != 0) return pid;
    body();
    ::_exit(0);
  }

  DumpRequest request(pid_t pid) {
    DumpRequest dump;
    dump.pid = pid;
    return dump;
  }

  void expect_all_traced(const FrozenTree& tree) {
    for (const Task& task : tree.tasks()) {
      if (!task.alive()) continue;
      EXPECT_EQ(task.threads.size(), threads_of(task.pid).size());
      for (const SeizedThread& thread : task.threads) {
        proc::Status status = status_of(task.pid, thread.tid());
        EXPECT_EQ(status.tracer_pid, ::getpid());
        EXPECT_EQ(status.state, 't');
      }
    }
  }

  void expect_members(const FrozenTree& tree, pid_t root) {
    std::vector<pid_t> expected = descendants(root);
    expected.push_back(root);
    std::vector<pid_t> found;
    for (const Task& task : tree.tasks()) found.push_back(task.pid);
    std::sort(expected.begin(), expected.end());
    std::sort(found.begin(), found.end());
    EXPECT_EQ(found, expected);
  }
};

void sleep_forever() {
  for (;;) ::pause();
}

TEST_F(FrozenTreeTest, a_single_process_stops_and_runs_on) {
  pid_t pid = spawn(sleep_forever);
  {
    FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
    ASSERT_EQ(tree.tasks().size(), 1u);
    const Task& task = tree.tasks()[0];
    EXPECT_EQ(task.pid, pid);
    EXPECT_EQ(task.ppid, ::getpid());
    EXPECT_EQ(task.sid, ::getsid(0));
    EXPECT_TRUE(task.alive());
    EXPECT_TRUE(task.pidfd.valid());
    EXPECT_GT(tree.frozen_since_ns(), 0u);
    expect_all_traced(tree);
    EXPECT_GT(MUST(tree.finish(FinalState::kRun)), 0u);
  }
  EXPECT_EQ(status_of(pid, pid).tracer_pid, 0);
  EXPECT_TRUE(eventually([&] { return state_of(pid) == 'S'; }));
}

TEST_F(FrozenTreeTest, threads_are_all_held_and_the_leader_is_the_first) {
  pid_t pid = spawn([] {
    std::vector<std::thread> threads;
    for (int i = 0; i < 7; i++) threads.emplace_back(sleep_forever);
    sleep_forever();
  });
  ASSERT_TRUE(eventually([&] { return threads_of(pid).size() == 8; }));
  FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
  EXPECT_EQ(tree.tasks()[0].threads.size(), 8u);
  EXPECT_EQ(tree.tasks()[0].leader().tid(), pid);
  expect_all_traced(tree);
}

TEST_F(FrozenTreeTest, threads_that_are_born_and_exit_all_the_time_are_all_held) {
  pid_t pid = spawn([] {
    for (;;) {
      std::thread([] { std::thread([] {}).join(); }).join();
    }
  });
  for (int i = 0; i < 50; i++) {
    FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
    expect_all_traced(tree);
    MUST(tree.finish(FinalState::kRun));
    for (pid_t tid : threads_of(pid)) {
      Result<proc::Status> status =
          proc::parse_status(test::file_text(strf("/proc/%d/task/%d/status", pid, tid)));
      if (status.ok()) {
        EXPECT_EQ(status.value().tracer_pid, 0);
      }
    }
  }
}

// Three generations that fork and exit all the time, at most a few dozen at once.
void fork_forever(int depth) {
  ::signal(SIGCHLD, SIG_IGN);
  for (int alive = 0;;) {
    pid_t pid = ::fork();
    if (pid == 0) {
      if (depth > 0) {
        for (int i = 0; i < 3; i++)
          if (::fork() == 0) ::_exit(0);
        ::usleep(200);
      }
      ::_exit(0);
    }
    if (pid > 0 && ++alive % 4 == 0)
      while (::waitpid(-1, nullptr, 0) > 0) {
      }
  }
}

TEST_F(FrozenTreeTest, a_tree_that_forks_all_the_time_stands_still_whole) {
  pid_t pid = spawn([] { fork_forever(1); });
  ::usleep(10'000);
  for (int i = 0; i < 50; i++) {
    FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
    expect_all_traced(tree);
    expect_members(tree, pid);
    MUST(tree.finish(FinalState::kRun));
    for (pid_t member : descendants(pid)) {
      Result<proc::Status> status =
          proc::parse_status(test::file_text(strf("/proc/%d/status", member)));
      if (status.ok()) {
        EXPECT_EQ(status.value().tracer_pid, 0);
      }
    }
  }
}

TEST_F(FrozenTreeTest, parents_come_before_children) {
  pid_t pid = spawn([] {
    for (int i = 0; i < 3; i++)
      if (::fork() == 0)
        for (int j = 0; j < 2; j++)
          if (::fork() == 0) sleep_forever();
    sleep_forever();
  });
  ASSERT_TRUE(eventually([&] { return descendants(pid).size() >= 9; }));
  ::usleep(50'000);
  FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
  expect_members(tree, pid);
  std::vector<pid_t> seen{tree.tasks()[0].ppid};
  for (const Task& task : tree.tasks()) {
    EXPECT_NE(std::find(seen.begin(), seen.end(), task.ppid), seen.end());
    seen.push_back(task.pid);
  }
}

TEST_F(FrozenTreeTest, zombies_are_listed_with_their_status) {
  pid_t pid = spawn([] {
    if (::fork() == 0) ::_exit(7);
    if (::fork() == 0) ::kill(::getpid(), SIGUSR1);
    sleep_forever();
  });
  auto zombies = [&] {
    std::vector<pid_t> all = descendants(pid);
    return all.size() == 2 &&
           std::all_of(all.begin(), all.end(), [](pid_t one) { return state_of(one) == 'Z'; });
  };
  ASSERT_TRUE(eventually(zombies));
  FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
  ASSERT_EQ(tree.tasks().size(), 3u);
  EXPECT_FALSE(tree.tasks()[1].alive());
  EXPECT_EQ(tree.tasks()[1].exit_status, 7 << 8);
  EXPECT_EQ(tree.tasks()[2].exit_status, SIGUSR1);
  EXPECT_TRUE(tree.tasks()[1].threads.empty());
}

TEST_F(FrozenTreeTest, a_dead_leader_does_not_hide_its_threads) {
  pid_t pid = spawn([] {
    std::thread(sleep_forever).detach();
    std::thread(sleep_forever).detach();
    ::syscall(SYS_exit, 0);
  });
  ASSERT_TRUE(eventually([&] { return state_of(pid) == 'Z'; }));
  FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
  EXPECT_TRUE(tree.tasks()[0].alive());
  EXPECT_EQ(tree.tasks()[0].threads.size(), 2u);
  EXPECT_NE(tree.tasks()[0].leader().tid(), pid);
}

TEST_F(FrozenTreeTest, a_stopped_process_stays_stopped) {
  pid_t pid = spawn(sleep_forever);
  ::kill(pid, SIGSTOP);
  ASSERT_TRUE(eventually([&] { return state_of(pid) == 'T'; }));
  for (int i = 0; i < 3; i++) {
    FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
    EXPECT_EQ(tree.tasks()[0].state, schema::TASK_STOPPED);
    EXPECT_EQ(tree.tasks()[0].stop_signal, SIGSTOP);
    MUST(tree.finish(FinalState::kRun));
    EXPECT_TRUE(eventually([&] { return state_of(pid) == 'T'; }));
  }
  ::kill(pid, SIGCONT);
  EXPECT_TRUE(eventually([&] { return state_of(pid) == 'S'; }));
}

TEST_F(FrozenTreeTest, can_be_left_stopped) {
  pid_t pid = spawn([] {
    if (::fork() == 0) sleep_forever();
    for (;;) ::getppid();
  });
  ASSERT_TRUE(eventually([&] { return descendants(pid).size() == 1; }));
  {
    FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
    MUST(tree.finish(FinalState::kStop));
  }
  for (pid_t member : {pid, descendants(pid)[0]}) {
    EXPECT_TRUE(eventually([&] { return state_of(member) == 'T'; }));
    EXPECT_EQ(status_of(member, member).tracer_pid, 0);
  }
}

TEST_F(FrozenTreeTest, can_be_killed_and_is_gone_afterwards) {
  pid_t pid = spawn([] {
    for (int i = 0; i < 5; i++)
      if (::fork() == 0) {
        std::thread(sleep_forever).detach();
        sleep_forever();
      }
    sleep_forever();
  });
  ASSERT_TRUE(eventually([&] { return descendants(pid).size() == 5; }));
  FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
  std::vector<pid_t> members;
  for (const Task& task : tree.tasks()) members.push_back(task.pid);
  MUST(tree.finish(FinalState::kKill));
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, WNOHANG), pid);
  EXPECT_TRUE(WIFSIGNALED(status));
  test::collect_zombies();
  for (pid_t member : members) EXPECT_EQ(::kill(member, 0), -1);
}

TEST_F(FrozenTreeTest, no_signal_is_lost_however_often_it_is_frozen) {
  test::Scratch scratch;
  const std::string file = scratch.file("count");
  static int received;
  static bool end;
  pid_t pid = spawn([&] {
    struct sigaction action {};
    action.sa_handler = [](int) { received++; };
    ::sigaction(SIGRTMIN, &action, nullptr);
    action.sa_handler = [](int) { end = true; };
    ::sigaction(SIGTERM, &action, nullptr);
    test::append_to(scratch.file("ready"), "x");
    while (!end) ::usleep(100);
    test::append_to(file, std::to_string(received));
  });
  ASSERT_TRUE(eventually([&] { return test::file_exists(scratch.file("ready")); }));
  for (int i = 0; i < 300; i++) {
    ::kill(pid, SIGRTMIN);
    FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
    ::kill(pid, SIGRTMIN);
    MUST(tree.finish(FinalState::kRun));
  }
  ::kill(pid, SIGTERM);
  ASSERT_TRUE(eventually([&] { return !test::file_text(file).empty(); }));
  EXPECT_EQ(test::file_text(file), "600");
}

TEST_F(FrozenTreeTest, a_vfork_parent_is_tried_again_until_its_child_execs) {
  pid_t pid = spawn([] {
    for (;;) {
      pid_t child = ::vfork();
      if (child == 0) {
        ::usleep(30'000);
        ::_exit(0);
      }
      ::waitpid(child, nullptr, 0);
    }
  });
  ::usleep(10'000);
  for (int i = 0; i < 3; i++) {
    FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
    expect_all_traced(tree);
  }
}

TEST_F(FrozenTreeTest, who_cannot_be_stopped_is_named) {
  pid_t pid = spawn([] {
    if (::vfork() == 0)
      for (;;) ::usleep(1000);
  });
  ASSERT_TRUE(eventually([&] { return state_of(pid) == 'D'; }));
  DumpRequest dump = request(pid);
  dump.freeze_timeout_ms = 300;
  Result<FrozenTree> tree = FrozenTree::freeze(dump);
  ASSERT_FALSE(tree.ok());
  EXPECT_NE(tree.error().text().find(strf("thread %d is in state D", pid)), std::string::npos)
      << tree.error().text();
}

TEST_F(FrozenTreeTest, a_second_engine_is_told_who_holds_the_tree) {
  pid_t pid = spawn(sleep_forever);
  FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
  test::Scratch scratch;
  pid_t other = spawn([&] {
    Result<FrozenTree> second = FrozenTree::freeze(request(pid));
    test::append_to(scratch.file("said"), second.ok() ? "frozen" : second.error().text());
  });
  ::waitpid(other, nullptr, 0);
  const std::string said = test::file_text(scratch.file("said"));
  EXPECT_NE(said.find(strf("task %d (ncr_tests) is traced by %d (ncr_tests)", pid, ::getpid())),
            std::string::npos)
      << said;
}

TEST_F(FrozenTreeTest, our_own_ancestors_and_the_missing_are_refused) {
  EXPECT_EQ(FrozenTree::freeze(request(::getppid())).error().code(), ErrorCode::kUsage);
  EXPECT_EQ(FrozenTree::freeze(request(::getpid())).error().code(), ErrorCode::kUsage);
  pid_t pid = spawn([] {});
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
  EXPECT_EQ(FrozenTree::freeze(request(pid)).error().code(), ErrorCode::kGone);
  ::waitpid(pid, nullptr, 0);
  EXPECT_EQ(FrozenTree::freeze(request(pid)).error().code(), ErrorCode::kGone);
}

TEST_F(FrozenTreeTest, an_engine_that_is_killed_leaves_the_tree_running) {
  pid_t pid = spawn(sleep_forever);
  pid_t engine = spawn([&] {
    FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
    ::kill(::getpid(), SIGKILL);
  });
  int status = 0;
  ::waitpid(engine, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(status_of(pid, pid).tracer_pid, 0);
  EXPECT_TRUE(eventually([&] { return state_of(pid) == 'S'; }));
}

TEST_F(FrozenTreeTest, a_thousand_children_are_all_held) {
  pid_t pid = spawn([] {
    for (int i = 0; i < 1000; i++)
      if (::fork() == 0) sleep_forever();
    sleep_forever();
  });
  ASSERT_TRUE(eventually([&] { return test::children_of(pid).size() == 1000; }));
  FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
  EXPECT_EQ(tree.tasks().size(), 1001u);
  const uint64_t stall = MUST(tree.finish(FinalState::kKill));
  RecordProperty("stall_us", static_cast<int>(stall / 1000));
}

}  // namespace
}  // namespace ncr
