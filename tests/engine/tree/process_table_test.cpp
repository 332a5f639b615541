#include "engine/tree/process_table.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace ncr {
namespace {

ProcessTable::Stats table(std::initializer_list<std::pair<pid_t, pid_t>> pid_and_parent) {
  ProcessTable::Stats stats;
  for (auto [pid, ppid] : pid_and_parent) {
    stats[pid].pid = pid;
    stats[pid].ppid = ppid;
  }
  return stats;
}

std::vector<pid_t> pids_below(const ProcessTable::Stats& stats, pid_t root) {
  std::vector<pid_t> pids;
  for (const proc::Stat* stat : tree_below(stats, root)) pids.push_back(stat->pid);
  return pids;
}

TEST(process_table, a_tree_is_listed_parents_first_whatever_their_pids) {
  ProcessTable::Stats stats =
      table({{1, 0}, {50, 1}, {10, 50}, {7, 10}, {60, 50}, {8, 1}, {9, 60}});
  EXPECT_EQ(pids_below(stats, 50), (std::vector<pid_t>{50, 10, 60, 7, 9}));
  EXPECT_EQ(pids_below(stats, 8), std::vector<pid_t>{8});
  EXPECT_TRUE(pids_below(stats, 99).empty());
}

TEST(process_table, a_process_that_is_its_own_ancestor_ends_no_loop) {
  EXPECT_EQ(pids_below(table({{5, 6}, {6, 5}}), 5), (std::vector<pid_t>{5, 6}));
}

TEST(process_table, a_scan_finds_us) {
  ProcessTable processes;
  ASSERT_TRUE(processes.scan().ok());
  ASSERT_TRUE(processes.stats().contains(::getpid()));
  EXPECT_EQ(processes.stats().at(::getpid()).ppid, ::getppid());
  EXPECT_FALSE(tree_below(processes.stats(), ::getppid()).empty());
}

TEST(process_table, a_child_is_found_by_the_pids_given_out) {
  ProcessTable processes;
  ASSERT_TRUE(processes.scan().ok());
  const pid_t before = read_last_pid().take();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::pause();
    ::_exit(0);
  }
  Result<bool> looked = processes.scan_pids(before, read_last_pid().take());
  ASSERT_TRUE(looked.ok());
  if (!looked.value()) {
    ASSERT_TRUE(processes.scan().ok());
  }
  ASSERT_TRUE(processes.stats().contains(pid));
  EXPECT_EQ(processes.stats().at(pid).ppid, ::getpid());
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

TEST(process_table, a_thread_is_no_process) {
  ProcessTable processes;
  ASSERT_TRUE(processes.scan().ok());
  pid_t tid = 0;
  std::atomic<bool> end = false;
  std::atomic<bool> ready = false;
  std::thread thread([&] {
    tid = ::gettid();
    ready = true;
    while (!end) ::usleep(100);
  });
  while (!ready) ::usleep(100);
  EXPECT_TRUE(processes.scan_pids(tid - 1, tid).ok());
  EXPECT_FALSE(processes.stats().contains(tid));
  end = true;
  thread.join();
}

TEST(process_table, too_many_pids_or_a_wrap_take_a_scan) {
  ProcessTable processes;
  EXPECT_FALSE(processes.scan_pids(100, 10000).take());
  EXPECT_FALSE(processes.scan_pids(30000, 300).take());
}

TEST(process_table, orphans_of_the_table_are_dropped_to_be_read_anew) {
  ProcessTable processes;
  proc::Stat stat;
  stat.pid = 3;
  stat.ppid = 2;
  processes.update(stat);
  EXPECT_TRUE(processes.erase_orphans());
  EXPECT_FALSE(processes.erase_orphans());
  EXPECT_TRUE(processes.stats().empty());
}

TEST(process_table, the_last_pid_is_the_end_of_loadavg) {
  EXPECT_EQ(parse_loadavg("0.20 0.18 0.12 1/80 11206\n").take(), 11206);
  for (const char* text : {"", "12", "0.2 0.1 0.1 1/80", "0.2 0.1 0.1 1/5 x"})
    EXPECT_FALSE(parse_loadavg(text).ok()) << text;
}

}  // namespace
}  // namespace ncr
