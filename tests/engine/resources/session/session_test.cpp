#include "engine/resources/session/session.h"

#include <linux/kcmp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <thread>
#include <vector>

#include "tests/support/checkpoint_test.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

[[noreturn]] void rest() {
  for (;;) ::pause();
}

// A process below us: `before` runs in it, then it rests. Returns when `before` is over.
template <class Before>
pid_t resting_child(Before before) {
  int ready[2];
  EXPECT_EQ(::pipe(ready), 0);
  pid_t child = ::fork();
  if (child == 0) {
    before();
    ::close(ready[0]);
    ::close(ready[1]);
    rest();
  }
  ::close(ready[1]);
  char byte;
  EXPECT_EQ(::read(ready[0], &byte, 1), 0);
  ::close(ready[0]);
  return child;
}

// The pid of the only child of ours that is not in `known`.
pid_t reap_and_find_orphan(pid_t parent, pid_t session) {
  EXPECT_EQ(::waitpid(parent, nullptr, 0), parent);
  for (pid_t pid = parent; pid < parent + 50; pid++)
    if (::getsid(pid) == session) return pid;
  return -1;
}

void end(pid_t child) {
  ::kill(child, SIGKILL);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

CR_TEST(session, a_task_keeps_its_session_and_group) {
  pid_t self = ::getpid(), parent_session = ::getsid(0), group = ::getpgrp();
  checkpoint_restore();
  EXPECT_EQ(::getpid(), self);
  EXPECT_EQ(::getsid(0), parent_session);
  EXPECT_EQ(::getpgrp(), group);
}

CR_TEST(session, children_keep_their_sessions_and_groups) {
  pid_t same = resting_child([] {});
  pid_t group = resting_child([] { ::setpgid(0, 0); });
  pid_t session = resting_child([] { ::setsid(); });
  checkpoint_restore();
  EXPECT_EQ(::getpgid(same), ::getpgrp());
  EXPECT_EQ(::getpgid(group), group);
  EXPECT_EQ(::getsid(group), ::getsid(0));
  EXPECT_EQ(::getsid(session), session);
  end(same), end(group), end(session);
}

CR_TEST(session, a_member_of_another_childs_group_is_still_in_it) {
  pid_t leader = resting_child([] { ::setpgid(0, 0); });
  pid_t member = resting_child([leader] { ::setpgid(0, leader); });
  checkpoint_restore();
  EXPECT_EQ(::getpgid(member), leader);
  end(member), end(leader);
}

CR_TEST(session, a_daemon_keeps_the_session_of_its_dead_father) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  pid_t father = ::fork();
  if (father == 0) {
    ::setsid();
    if (::fork() == 0) rest();
    ::_exit(0);
  }
  pid_t daemon = reap_and_find_orphan(father, father);
  ASSERT_GT(daemon, 0);
  checkpoint_restore();
  EXPECT_EQ(::getsid(daemon), father);
  EXPECT_EQ(::getpgid(daemon), father);
  EXPECT_EQ(::kill(father, 0), -1) << "the father must not come back";
  end(daemon);
}

CR_TEST(session, a_group_whose_leader_is_dead_keeps_its_number) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  pid_t leader = ::fork();
  if (leader == 0) {
    ::setpgid(0, 0);
    if (::fork() == 0) rest();
    ::_exit(0);
  }
  EXPECT_EQ(::waitpid(leader, nullptr, 0), leader);
  pid_t member = leader;
  while (member < leader + 50 && (member == leader || ::getpgid(member) != leader)) member++;
  checkpoint_restore();
  EXPECT_EQ(::getpgid(member), leader);
  end(member);
}

CR_TEST(session, an_orphan_of_a_living_session_deep_below_stays_ours) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  int report[2];
  ASSERT_EQ(::pipe(report), 0);
  pid_t child = ::fork();
  if (child == 0) {
    pid_t leader = ::fork();
    if (leader != 0) {
      ::close(report[0]), ::close(report[1]);
      rest();
    }
    ::setsid();
    pid_t between = ::fork();
    if (between == 0) {
      pid_t orphan = ::fork();
      if (orphan == 0) {
        ::close(report[0]), ::close(report[1]);
        rest();
      }
      (void)!::write(report[1], &orphan, sizeof orphan);
      ::_exit(0);
    }
    ::waitpid(between, nullptr, 0);
    ::close(report[0]), ::close(report[1]);
    rest();
  }
  pid_t orphan = 0;
  ::close(report[1]);
  ASSERT_EQ(::read(report[0], &orphan, sizeof orphan), static_cast<ssize_t>(sizeof orphan));
  char byte;
  ASSERT_EQ(::read(report[0], &byte, 1), 0);
  ::close(report[0]);
  pid_t session = ::getsid(orphan);
  checkpoint_restore();
  EXPECT_EQ(::getsid(orphan), session);
  EXPECT_NE(session, ::getsid(0));
  end(orphan);
  ::kill(session, SIGKILL);
  end(child);
}

CR_TEST(session, a_stopped_child_is_still_stopped) {
  pid_t child = resting_child([] {});
  ::kill(child, SIGSTOP);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  checkpoint_restore();
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  EXPECT_TRUE(WIFSTOPPED(status));
  ::kill(child, SIGCONT);
  ASSERT_EQ(::waitpid(child, &status, WCONTINUED), child);
  EXPECT_TRUE(WIFCONTINUED(status));
  end(child);
}

CR_TEST(session, a_child_dies_with_its_parent_only_if_it_asked_for_it) {
  int alive[2];
  ASSERT_EQ(::pipe(alive), 0);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  pid_t father = ::fork();
  if (father == 0) {
    if (::fork() == 0) {
      ::close(alive[0]);
      while (::getppid() == father || ::getppid() != 1) {
        if (::write(alive[1], "x", 1) != 1) ::_exit(0);
        timespec pause{0, 10'000'000};
        ::nanosleep(&pause, nullptr);
      }
      ::_exit(0);
    }
    ::close(alive[0]), ::close(alive[1]);
    rest();
  }
  ::close(alive[1]);
  checkpoint_restore();
  end(father);
  char bytes[4096];
  for (int i = 0; i < 10; i++) ASSERT_GT(::read(alive[0], bytes, sizeof bytes), 0);
  ::close(alive[0]);
}

CR_TEST(session, a_child_in_our_descriptor_table_is_still_in_it) {
  static char stack[64 * 1024];
  auto body = [](void*) -> int { rest(); };
  pid_t child = ::clone(body, stack + sizeof stack, CLONE_FILES | SIGCHLD, nullptr);
  ASSERT_GT(child, 0);
  checkpoint_restore();
  EXPECT_EQ(::syscall(SYS_kcmp, ::getpid(), child, KCMP_FILES, 0, 0), 0);
  end(child);
}

CR_TEST_WITH(session, many_children_come_back, .cycles = 1) {
  std::vector<pid_t> children;
  for (int i = 0; i < 50; i++) children.push_back(resting_child([] {}));
  checkpoint_restore();
  for (pid_t child : children) end(child);
}

CR_TEST_WITH(session, memory_shared_by_processes_is_refused_by_name, .refused_with = "CLONE_VM") {
  static char stack[64 * 1024];
  auto body = [](void*) -> int { rest(); };
  pid_t child = ::clone(body, stack + sizeof stack, CLONE_VM | SIGCHLD, nullptr);
  ASSERT_GT(child, 0);
  checkpoint_restore();
  end(child);
}

CR_TEST_WITH(session, a_process_whose_first_thread_is_gone_is_refused_by_name,
             .refused_with = "first thread has exited") {
  pid_t child = ::fork();
  if (child == 0) {
    std::thread(rest).detach();
    ::syscall(SYS_exit, 0);
  }
  std::string stat = strf("/proc/%d/stat", child);
  while (test::file_text(stat).find(") Z ") == std::string::npos) ::usleep(1000);
  checkpoint_restore();
  end(child);
}

Blockers blockers_of_a_foreign_session(ShellJob shell_job) {
  Task root;
  root.pid = 100;
  root.pgid = root.sid = 50;
  std::vector<schema::Task> tasks(1);
  tasks[0].set_pid(100);
  tasks[0].set_pgid(50);
  tasks[0].set_sid(50);
  Blockers blockers;
  EXPECT_TRUE(session::preflight_tree(root, tasks, PidSpaces(), shell_job, blockers).ok());
  return blockers;
}

TEST(session, a_tree_of_a_foreign_session_is_a_blocker_with_a_way_out) {
  const Blockers blockers = blockers_of_a_foreign_session(ShellJob::kRefuse);
  ASSERT_EQ(blockers.list().size(), 1u);
  EXPECT_EQ(blockers.list()[0].way_out, "--shell-job");
}

TEST(session, a_shell_job_may_belong_to_a_foreign_session) {
  EXPECT_TRUE(blockers_of_a_foreign_session(ShellJob::kInheritTerminal).empty());
}

}  // namespace
}  // namespace ncr
