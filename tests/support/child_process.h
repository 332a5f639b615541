// Children of a test, and what is left of them.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace ncr::test {

// Forks; the child runs `body` and exits with 0, or with 1 if it threw.
pid_t fork_child(const std::function<void()>& body);

// Waits for the exit of a child, at most this long. False on timeout.
bool wait_exit(pid_t pid, int* status, std::chrono::milliseconds patience);
std::string describe_exit(int status);    // "exit status 3", "killed by signal 11"
std::string describe_process(pid_t pid);  // state, where it waits, tracer

std::vector<pid_t> children_of(pid_t parent);
// SIGKILL to every descendant of this process, and collects them (it must be their subreaper).
void kill_descendants();
void collect_zombies();

}  // namespace ncr::test
