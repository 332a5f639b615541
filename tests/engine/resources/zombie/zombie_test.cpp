#include "engine/resources/zombie/zombie.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/support/checkpoint_test.h"

namespace ncr {
namespace {

pid_t zombie_of(int exit_status) {
  pid_t child = ::fork();
  if (child == 0) {
    schema::Task record;
    record.set_exit_status(exit_status);
    record.set_comm("former");
    zombie::become(record);
  }
  return child;
}

TEST(zombie, ends_with_the_exit_code_or_signal_of_the_image) {
  for (int wanted : {0, 7 << 8, 255 << 8, SIGTERM, SIGKILL, SIGSEGV}) {
    pid_t child = zombie_of(wanted);
    ASSERT_TRUE(zombie::await(child).ok());
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, wanted);
  }
}

CR_TEST(zombie, a_child_that_has_exited_can_still_be_waited_for) {
  pid_t exited = ::fork();
  if (exited == 0) ::_exit(42);
  pid_t killed = ::fork();
  if (killed == 0) {
    ::raise(SIGTERM);
  }
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(exited), &info, WEXITED | WNOWAIT);
  ::waitid(P_PID, static_cast<id_t>(killed), &info, WEXITED | WNOWAIT);
  checkpoint_restore();
  int status = 0;
  ASSERT_EQ(::waitpid(exited, &status, WNOHANG), exited);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42);
  ASSERT_EQ(::waitpid(killed, &status, WNOHANG), killed);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

CR_TEST(zombie, its_parent_gets_no_signal_that_it_had_not) {
  sigset_t child_signal;
  sigemptyset(&child_signal);
  sigaddset(&child_signal, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child_signal, nullptr);
  pid_t exited = ::fork();
  if (exited == 0) ::_exit(0);
  int signal = 0;
  ASSERT_EQ(::sigwait(&child_signal, &signal), 0);
  checkpoint_restore();
  sigset_t pending;
  ::sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGCHLD), 0);
  EXPECT_EQ(::waitpid(exited, nullptr, WNOHANG), exited);
}

}  // namespace
}  // namespace ncr
