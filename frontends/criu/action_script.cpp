#include "frontends/criu/action_script.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <vector>

namespace criu {
namespace {

// Whoever calls a hook may have all signals blocked.
class CleanSignals {
 public:
  CleanSignals() {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
  }
  CleanSignals(const CleanSignals&) = delete;
  ~CleanSignals() { ::posix_spawnattr_destroy(&attributes_); }
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

std::vector<std::string> environment_of(const ncr_hook& hook, const std::string& images_dir) {
  std::vector<std::string> list;
  for (char** at = environ; at != nullptr && *at != nullptr; at++)
    if (std::string(*at).rfind("CRTOOLS_", 0) != 0) list.emplace_back(*at);
  list.push_back(std::string("CRTOOLS_SCRIPT_ACTION=") + hook.name);
  list.push_back("CRTOOLS_IMAGE_DIR=" + images_dir);
  if (hook.pid > 0) list.push_back("CRTOOLS_INIT_PID=" + std::to_string(hook.pid));
  return list;
}

}  // namespace

Status run_action_script(const std::string& command, const ncr_hook& hook,
                         const std::string& images_dir) {
  std::vector<std::string> environment = environment_of(hook, images_dir);
  std::vector<char*> variables;
  for (std::string& variable : environment) variables.push_back(variable.data());
  variables.push_back(nullptr);
  std::string shell = "/bin/sh", option = "-c", text = command;
  char* arguments[] = {shell.data(), option.data(), text.data(), nullptr};
  const std::string what = "action script " + command + " (" + hook.name + ")";
  const CleanSignals signals;
  pid_t pid = 0;
  const int failed =
      ::posix_spawn(&pid, shell.c_str(), nullptr, signals.get(), arguments, variables.data());
  if (failed != 0) return Status::system(what, failed);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return Status::system(what, errno);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return Status::fail(WIFSIGNALED(status)
                          ? what + " was killed by signal " + std::to_string(WTERMSIG(status))
                          : what + " failed with status " + std::to_string(WEXITSTATUS(status)));
}

}  // namespace criu
