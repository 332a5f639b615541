#include "engine/base/proc.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "engine/base/sys.h"

namespace ncr {
namespace {

std::string stat_line(const std::string& comm, char state = 'S', const char* tail = "") {
  std::string line = "4711 (" + comm + ") " + state + " 12 34 56 34817 -1 4194560";
  for (int number = 10; number <= 52; number++) line += " " + std::to_string(number * 100);
  return line + tail + "\n";
}

TEST(proc_stat, knows_every_field_by_its_number) {
  proc::Stat stat = proc::parse_stat(stat_line("bash")).take();
  EXPECT_EQ(stat.pid, 4711);
  EXPECT_EQ(stat.comm, "bash");
  EXPECT_EQ(stat.state, 'S');
  EXPECT_EQ(stat.ppid, 12);
  EXPECT_EQ(stat.pgid, 34);
  EXPECT_EQ(stat.sid, 56);
  EXPECT_EQ(stat.tty, 34817);
  EXPECT_EQ(stat.tty_pgid, -1);
  EXPECT_EQ(stat.flags, 4194560u);
  EXPECT_EQ(stat.threads, 2000);
  EXPECT_EQ(stat.start_time, 2200u);
  EXPECT_EQ(stat.start_code, 2600u);
  EXPECT_EQ(stat.start_stack, 2800u);
  EXPECT_EQ(stat.start_data, 4500u);
  EXPECT_EQ(stat.start_brk, 4700u);
  EXPECT_EQ(stat.env_end, 5100u);
  EXPECT_EQ(stat.exit_code, 5200);
}

TEST(proc_stat, the_command_name_may_look_like_the_rest_of_the_line) {
  for (const char* comm : {"a) R 1 (b", ") Z 1", "((", "", " ", "new\nline", "\xff\xfe"})
    EXPECT_EQ(proc::parse_stat(stat_line(comm)).take().comm, comm);
  EXPECT_EQ(proc::parse_stat(stat_line("a) R 1 (b")).take().ppid, 12);
}

TEST(proc_stat, fields_of_a_newer_kernel_are_skipped) {
  EXPECT_EQ(proc::parse_stat(stat_line("x", 'S', " 1 what 3")).take().exit_code, 5200);
}

TEST(proc_stat, a_zombie_is_dead) {
  EXPECT_TRUE(proc::parse_stat(stat_line("x", 'Z')).take().dead());
  EXPECT_FALSE(proc::parse_stat(stat_line("x", 'T')).take().dead());
}

TEST(proc_stat, damaged_text_is_refused) {
  for (const char* text :
       {"", "1", "1 (a", "1 a) S 1", "x (a) S 1 2 3", "1 (a) S 1 2 3", "1 (a)", "1 (a) SS 1"})
    EXPECT_FALSE(proc::parse_stat(text).ok()) << text;
}

TEST(proc_stat, reads_our_own) {
  proc::Stat stat = proc::parse_stat(sys::read_file("/proc/self/stat").take()).take();
  EXPECT_EQ(stat.pid, ::getpid());
  EXPECT_EQ(stat.ppid, ::getppid());
  EXPECT_EQ(stat.sid, ::getsid(0));
}

constexpr const char* kStatus =
    "Name:\ta b\nUmask:\t0022\nState:\tT "
    "(stopped)\nTgid:\t10\nNgid:\t0\nPid:\t11\nPPid:\t1\nTracerPid:\t999\n"
    "Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nFDSize:\t64\nGroups:\t20 30 "
    "\nNStgid:\t10\t2\nNSpid:\t11\t3\n"
    "Threads:\t2\nSigQ:\t0/"
    "1\nSigPnd:\t0000000000000001\nShdPnd:\t0000000000000002\nSigBlk:\tfffffffe7ffbfeff\n"
    "CapEff:\t000001fffeffffff\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\nSomething_new:"
    "\tx\n";

TEST(proc_status, knows_its_lines_and_skips_others) {
  proc::Status status = proc::parse_status(kStatus).take();
  EXPECT_EQ(status.name, "a b");
  EXPECT_EQ(status.umask, 022u);
  EXPECT_EQ(status.state, 'T');
  EXPECT_EQ(status.tgid, 10);
  EXPECT_EQ(status.pid, 11);
  EXPECT_EQ(status.tracer_pid, 999);
  EXPECT_EQ(status.uids, (std::array<uint32_t, 4>{1, 2, 3, 4}));
  EXPECT_EQ(status.gids, (std::array<uint32_t, 4>{5, 6, 7, 8}));
  EXPECT_EQ(status.groups, (std::vector<uint32_t>{20, 30}));
  EXPECT_EQ(status.ns_pids, (std::vector<pid_t>{11, 3}));
  EXPECT_EQ(status.threads, 2);
  EXPECT_EQ(status.pending, 1u);
  EXPECT_EQ(status.shared_pending, 2u);
  EXPECT_EQ(status.blocked, 0xfffffffe7ffbfeffu);
  EXPECT_EQ(status.cap_effective, 0x1fffeffffffu);
  EXPECT_TRUE(status.no_new_privs);
  EXPECT_EQ(status.seccomp, 2);
  EXPECT_EQ(status.seccomp_filters, 3);
}

TEST(proc_status, a_name_does_not_match_the_beginning_of_another) {
  EXPECT_EQ(proc::field("Seccomp_filters:\t3\nSeccomp:\t2\n", "Seccomp"), "2");
  EXPECT_EQ(proc::field("Groups:\t \nX:\t1\n", "Groups"), "");
  EXPECT_EQ(proc::field("", "Pid"), "");
}

TEST(proc_status, no_text_is_refused) { EXPECT_FALSE(proc::parse_status("").ok()); }

}  // namespace
}  // namespace ncr
