// Runs restorer halves in a forked child: what they do to a process cannot be undone.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

namespace ncr::testing {

// The exit status of a child that runs `body` (an int()); -1 if it died by a signal.
template <class Body>
int in_child(Body body) {
  pid_t pid = fork();
  if (pid == 0) _exit(body());
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// A step and its tail, side by side as in a step list.
template <class Step, class Tail>
struct WithTail {
  Step step;
  Tail tail;
};

}  // namespace ncr::testing
