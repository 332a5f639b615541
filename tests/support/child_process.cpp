#include "tests/support/child_process.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <thread>

#include "engine/base/proc.h"
#include "tests/support/scratch.h"

namespace ncr::test {
namespace {

using Clock = std::chrono::steady_clock;

std::string first_line(const std::string& path) {
  std::string text = file_text(path);
  return text.substr(0, text.find('\n'));
}

}  // namespace

pid_t fork_child(const std::function<void()>& body) {
  std::fflush(nullptr);
  pid_t pid = ::fork();
  if (pid != 0) return pid;
  int status = 0;
  try {
    body();
  } catch (const std::exception&) {
    status = 1;
  }
  ::_exit(status);
}

bool wait_exit(pid_t pid, int* status, std::chrono::milliseconds patience) {
  const auto deadline = Clock::now() + patience;
  for (;;) {
    if (::waitpid(pid, status, WNOHANG) != 0) return true;
    if (Clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
}

std::string describe_exit(int status) {
  if (WIFEXITED(status)) return strf("exit status %d", WEXITSTATUS(status));
  if (WIFSIGNALED(status))
    return strf("killed by signal %d (%s)", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  return strf("wait status %#x", static_cast<unsigned>(status));
}

std::string describe_process(pid_t pid) {
  const std::string folder = strf("/proc/%d/", pid);
  Result<proc::Status> status = proc::parse_status(file_text(folder + "status"));
  if (!status.ok()) return strf("process %d is gone", pid);
  return strf("process %d (%s): state %c, tracer %d, waits in %s, system call %s, blocked %lx", pid,
              status.value().name.c_str(), status.value().state, status.value().tracer_pid,
              first_line(folder + "wchan").c_str(), first_line(folder + "syscall").c_str(),
              static_cast<unsigned long>(status.value().blocked));
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  DIR* directory = ::opendir("/proc");
  if (directory == nullptr) return children;
  while (const dirent* entry = ::readdir(directory)) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid <= 0) continue;
    Result<proc::Stat> stat = proc::parse_stat(file_text(strf("/proc/%d/stat", pid)));
    if (stat.ok() && stat.value().ppid == parent) children.push_back(pid);
  }
  ::closedir(directory);
  return children;
}

void collect_zombies() {
  while (::waitpid(-1, nullptr, WNOHANG | __WALL) > 0) {
  }
}

// A child that dies hands its own children to us, so a few rounds reach everyone.
void kill_descendants() {
  for (int round = 0; round < 200; round++) {
    collect_zombies();
    std::vector<pid_t> children = children_of(::getpid());
    if (children.empty()) return;
    for (pid_t child : children) ::kill(child, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace ncr::test
