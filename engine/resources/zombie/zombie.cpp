// A zombie is a number, a name and an exit status; the kernel keeps it in the task struct until the
// parent waits. Its memory and files are gone, so it is restored by a child that ends in the same
// way: exit code, or death by the same signal. That it dumped core (bit 0x80 of the status) cannot
// be had without writing a core file, and is not kept.
#include "engine/resources/zombie/zombie.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "engine/resources/room.h"

namespace ncr::zombie {

void become(const schema::Task& record) {
  ::prctl(PR_SET_NAME, record.comm().c_str());
  int status = record.exit_status();
  if (WIFEXITED(status)) ::_exit(WEXITSTATUS(status));
  rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::signal(WTERMSIG(status), SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::kill(::getpid(), WTERMSIG(status));
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::_exit(127);
}

Result<> await(pid_t pid) {
  siginfo_t info{};
  TRY(SYSCALL(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT | __WALL),
              "waitid %d (a zombie to be)", pid));
  return {};
}

extern const TaskRoom kRoom = {.name = "zombie"};

}  // namespace ncr::zombie
