#include "engine/tree/process_table.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

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

TEST(process_table, says_if_a_parent_vanished) {
  EXPECT_FALSE(has_unknown_parent(table({{1, 0}, {2, 0}, {3, 1}})));
  EXPECT_TRUE(has_unknown_parent(table({{1, 0}, {3, 2}})));
}

TEST(process_table, a_scan_finds_us) {
  ProcessTable processes;
  ASSERT_TRUE(processes.scan().ok());
  ASSERT_TRUE(processes.stats().contains(::getpid()));
  EXPECT_EQ(processes.stats().at(::getpid()).ppid, ::getppid());
  EXPECT_FALSE(tree_below(processes.stats(), ::getppid()).empty());
}

TEST(birth_mark, is_read_from_the_end_of_loadavg) {
  EXPECT_EQ(parse_loadavg("0.20 0.18 0.12 1/80 11206\n").take(), (BirthMark{80, 11206}));
  for (const char* text :
       {"", "1 2 3", "0.2 0.1 0.1 1/x 5", "0.2 0.1 0.1 1/5", "0.2 0.1 0.1 1/5 x"})
    EXPECT_FALSE(parse_loadavg(text).ok()) << text;
}

TEST(birth_mark, changes_with_a_fork) {
  BirthMark before = read_birth_mark().take();
  pid_t pid = ::fork();
  if (pid == 0) {
    ::pause();
    ::_exit(0);
  }
  EXPECT_NE(read_birth_mark().take(), before);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

}  // namespace
}  // namespace ncr
