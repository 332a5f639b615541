#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/proc.h"
#include "engine/base/sys.h"
#include "tests/support/checkpoint_test.h"

namespace ncr::controlling_terminal {
namespace {

struct Pty {
  Pty() : master(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    int unlocked = 0;
    ::ioctl(master.get(), TIOCSPTLCK, &unlocked);
    slave = Fd(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  }
  Fd master;
  Fd slave;
};

pid_t ask(const Fd& master, unsigned long what) {
  pid_t answer = 0;
  EXPECT_EQ(::ioctl(master.get(), what, &answer), 0);
  return answer;
}

// A child that leads a session on the terminal and has a group of its own in the foreground; the
// parent has the master.
CR_TEST(controlling_terminal, session_keeps_its_terminal_and_foreground_group) {
  Pty pty;
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  pid_t leader = ::fork();
  if (leader == 0) {
    ::setsid();
    ::ioctl(pty.slave.get(), TIOCSCTTY, 0);
    pid_t job = ::fork();
    if (job == 0) {
      ::setpgid(0, 0);
      for (;;) ::pause();
    }
    ::setpgid(job, job);
    ::signal(SIGTTOU, SIG_IGN);
    ::tcsetpgrp(pty.slave.get(), job);
    Fd current(::open("/dev/tty", O_RDWR | O_CLOEXEC));
    (void)!::write(ready[1], &job, sizeof job);
    for (;;) ::pause();
  }
  pid_t job = 0;
  ASSERT_EQ(::read(ready[0], &job, sizeof job), static_cast<ssize_t>(sizeof job));
  checkpoint_restore();
  pid_t foreground = 0;
  EXPECT_EQ(::ioctl(pty.master.get(), TIOCGPGRP, &foreground), 0);
  EXPECT_EQ(foreground, job);
  pid_t session = 0;
  EXPECT_EQ(::ioctl(pty.master.get(), TIOCGSID, &session), 0);
  EXPECT_EQ(session, leader);
  ::kill(job, SIGKILL);
  ::kill(leader, SIGKILL);
  EXPECT_EQ(::waitpid(leader, nullptr, 0), leader);
}

// Members of the session have the terminal from their birth.
CR_TEST(controlling_terminal, members_of_the_session_have_it) {
  Pty pty;
  ::signal(SIGHUP, SIG_IGN);
  ASSERT_EQ(::ioctl(pty.slave.get(), TIOCSCTTY, 0), 0);
  int go[2];
  ASSERT_EQ(::pipe2(go, O_CLOEXEC), 0);
  pid_t member = ::fork();
  if (member == 0) {
    char byte = 0;
    (void)!::read(go[0], &byte, 1);
    ::_exit(::open("/dev/tty", O_RDWR) >= 0 ? 3 : 1);
  }
  checkpoint_restore();
  EXPECT_EQ(::write(go[1], "", 1), 1);
  int status = 0;
  ASSERT_EQ(::waitpid(member, &status, 0), member);
  EXPECT_EQ(WEXITSTATUS(status), 3);
  EXPECT_EQ(ask(pty.master, TIOCGSID), ::getpid());
}

// Its leader has closed the terminal, but the session has it still.
CR_TEST(controlling_terminal, leader_needs_no_descriptor_of_it) {
  Pty pty;
  pid_t child = ::fork();
  if (child == 0) {
    ::setsid();
    ::ioctl(pty.slave.get(), TIOCSCTTY, 0);
    pty.slave.close();
    pty.master.close();
    for (;;) ::pause();
  }
  while (ask(pty.master, TIOCGPGRP) != child) ::usleep(1000);
  checkpoint_restore();
  EXPECT_EQ(ask(pty.master, TIOCGSID), child);
  ::kill(child, SIGKILL);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

int terminal_of_this_session() {
  std::string text = MUST(sys::read_file("/proc/self/stat"));
  return MUST(proc::parse_stat(text)).tty;
}

CR_TEST(controlling_terminal, a_session_without_one_gets_none_from_what_it_has_open) {
  Pty pty;
  ASSERT_EQ(terminal_of_this_session(), 0);
  checkpoint_restore();
  EXPECT_EQ(terminal_of_this_session(), 0);
  EXPECT_FALSE(Fd(::open("/dev/tty", O_RDWR | O_CLOEXEC)).valid());
}

}  // namespace
}  // namespace ncr::controlling_terminal
