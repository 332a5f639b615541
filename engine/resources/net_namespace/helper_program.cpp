// Runs a program by posix_spawn(3) (engine: a host's threads are not forked; root task). Its input
// is a memfd, so that nobody waits for anybody; what it says as errors comes with its output.
#include "engine/resources/net_namespace/helper_program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace ncr::net_namespace {
namespace {

// A runtime may give us a short PATH; programs of the administrator are in sbin.
constexpr const char* kFolders[] = {"/usr/sbin/", "/sbin/", "/usr/bin/", "/usr/local/sbin/"};

Result<std::string> find_program(const std::string& name) {
  for (const char* folder : kFolders)
    if (::access((folder + name).c_str(), X_OK) == 0) return folder + name;
  return Error::unsupported(strf("%s is not installed", name.c_str()));
}

struct Spawn {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  Spawn(int input, int output) {
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, input, 0);
    posix_spawn_file_actions_adddup2(&files, output, 1);
    posix_spawn_file_actions_adddup2(&files, output, 2);
    posix_spawnattr_init(&attributes);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  Spawn(const Spawn&) = delete;
  ~Spawn() {
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
  }
};

Result<Fd> memory_file(const std::string& content) {
  Fd fd(TRY(SYSCALL(::memfd_create("nativecr", MFD_CLOEXEC), "memfd_create")));
  TRY(sys::pwrite_all(fd, content.data(), content.size(), 0));
  return fd;
}

Result<std::string> content_of(const Fd& fd) {
  off_t size = TRY(SYSCALL(::lseek(fd.get(), 0, SEEK_END), "lseek"));
  std::string content(static_cast<size_t>(size), '\0');
  TRY(sys::pread_exact(fd, content.data(), content.size(), 0));
  return content;
}

}  // namespace

Result<std::string> run_helper(const std::vector<std::string>& command, const std::string& input) {
  std::string program = TRY(find_program(command[0]));
  Fd in = TRY(memory_file(input));
  Fd out = TRY(memory_file(""));
  Spawn spawn(in.get(), out.get());
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  char locale[] = "LC_ALL=C";
  char* environment[] = {locale, nullptr};
  pid_t pid = 0;
  int failed = ::posix_spawn(&pid, program.c_str(), &spawn.files, &spawn.attributes,
                             arguments.data(), environment);
  if (failed != 0) return Error::system(failed, strf("run %s", program.c_str()));
  int status = 0;
  Result<int> waited = SYSCALL(::waitpid(pid, &status, 0), "waitpid %s", program.c_str());
  std::string said = TRY(content_of(out));
  // A host that ignores SIGCHLD is told of no status.
  if (!waited.ok() && waited.error().os_error() != ECHILD) return waited.take_error();
  if (waited.ok() && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
    return Error(ErrorCode::kSystem,
                 strf("%s failed: %s", program.c_str(), said.substr(0, 400).c_str()));
  return said;
}

}  // namespace ncr::net_namespace
