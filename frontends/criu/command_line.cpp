// Options, then the command: dump, restore, ... Says little: LXC reads what is printed only when
// all is over.
#include "frontends/criu/command_line.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

#include "frontends/criu/config_file.h"
#include "frontends/criu/features.h"
#include "frontends/criu/option_table.h"
#include "frontends/criu/rpc_server.h"
#include "frontends/criu/service.h"
#include "frontends/criu/values.h"
#include "frontends/criu/work.h"

namespace criu {
namespace {

constexpr char kVersion[] = "Version: 4.2\n";
constexpr char kUsage[] =
    "Usage: criu dump|pre-dump -t PID [OPTIONS]\n"
    "       criu restore [OPTIONS]\n"
    "       criu check [--feature NAME]\n"
    "       criu page-server|lazy-pages|dedup [OPTIONS]\n"
    "       criu service [OPTIONS]\n"
    "       criu swrk FD\n"
    "nativecr in the place of criu; see nativecr-criu(1).\n";

struct Command {
  std::vector<std::string> words;
  Options configured;  // by configuration files only
  Options options;
};

// Descriptors of ours must not become somebody's standard input or output.
void fill_standard_descriptors() {
  int fd = 0;
  do {
    fd = ::open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd > STDERR_FILENO) ::close(fd);
}

int fail(const Status& status) {
  std::fprintf(stderr, "criu: Error: %s\n", status.error.c_str());
  return 1;
}

// The log has it already; on a terminal there may be no log.
int exit_status(const Work& work, const Status& status) {
  const bool logged_elsewhere = !work.options().log_file.empty() && !work.options().log_to_stderr;
  if (!status.ok() && (logged_elsewhere || work.journal().verbosity() == 0)) (void)fail(status);
  return status.ok() ? 0 : 1;
}

Status parse(const std::vector<std::string>& arguments, Command& command) {
  Options first;
  std::vector<std::string> words;
  Status parsed = parse_arguments(arguments, first, &words);
  if (!parsed.ok()) return parsed;
  parsed = apply_default_config(!first.no_default_config, command.configured);
  if (parsed.ok() && !first.config.empty())
    parsed = apply_config_file(first.config, IfMissing::kFail, command.configured);
  command.options = command.configured;
  if (parsed.ok()) parsed = parse_arguments(arguments, command.options, &command.words);
  return parsed;
}

Status check_contradictions(const Options& options) {
  if (options.leave_running && options.leave_stopped)
    return Status::bad_option("a tree is left running or left stopped, not both");
  return {};
}

Status write_pidfile(const std::string& path, pid_t pid) {
  if (path.empty()) return {};
  const std::string text = std::to_string(pid);
  return write_file_at(AT_FDCWD, path, text);
}

int dump(const Command& command, Engine& engine, bool memory_only) {
  Work work(engine, command.options, nullptr);
  Status status = work.open();
  if (!status.ok()) return fail(status);
  return exit_status(work, memory_only ? work.predump() : work.dump());
}

int restore(const Command& command, Engine& engine) {
  const Options& options = command.options;
  if (options.sibling && !options.detach)
    return fail(
        Status::bad_option("restore-sibling needs restore-detached: a sibling cannot be "
                           "waited for"));
  Work work(engine, options, nullptr);
  Status status = work.open();
  if (!status.ok()) return fail(status);
  pid_t root = 0;
  status = work.restore(&root);
  if (status.ok()) status = write_pidfile(options.pidfile, root);
  if (!status.ok() || options.detach) return exit_status(work, status);
  int exited = 0;
  while (::waitpid(root, &exited, 0) < 0 && errno == EINTR) continue;
  return 0;
}

int check(const Command& command, Engine& engine) {
  for (const std::string& feature : command.options.features) {
    if (!is_feature(feature)) return fail(Status::bad_option("there is no feature " + feature));
    if (!has_feature(feature, engine))
      return fail(Status::fail("feature " + feature + " is not there"));
  }
  if (!command.options.features.empty()) return 0;
  const Answer answer = engine.check();
  if (answer.status != NCR_OK) return fail(Status::fail(answer.error));
  std::puts("Looks good.");
  return 0;
}

// Whoever waits for the end of what we print must not wait for a daemon.
void leave_terminal() {
  ::setsid();
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) ::dup2(null, fd);
  ::close(null);
}

// Returns in the process that goes on: the child's, if it is to be in the background.
bool go_on_in_background(const Options& options, int* status) {
  *status = 0;
  if (!options.detach) {
    *status = write_pidfile(options.pidfile, ::getpid()).ok() ? 0 : 1;
    return *status == 0;
  }
  const pid_t pid = ::fork();
  if (pid == 0) {
    leave_terminal();
    return true;
  }
  if (pid < 0) *status = fail(Status::system("fork", errno));
  if (pid > 0) *status = write_pidfile(options.pidfile, pid).ok() ? 0 : 1;
  return false;
}

int page_server(const Command& command, Engine& engine) {
  Work work(engine, command.options, nullptr);
  Status status = work.open();
  if (!status.ok()) return fail(status);
  Descriptor listening;
  int port = 0;
  if (command.options.page_server_fd < 0)
    status = listen_for_pages(command.options, &listening, &port);
  if (!status.ok()) return fail(status);
  int exited = 0;
  if (!go_on_in_background(command.options, &exited)) return exited;
  return exit_status(work, work.page_server(listening.get()));
}

int lazy_pages(const Command& command, Engine& engine) {
  Work work(engine, command.options, nullptr);
  const Status status = work.open();
  if (!status.ok()) return fail(status);
  int exited = 0;
  if (!go_on_in_background(command.options, &exited)) return exited;
  return exit_status(work, work.lazy_pages());
}

int dedup(const Command& command, Engine& engine) {
  Work work(engine, command.options, nullptr);
  const Status status = work.open();
  if (!status.ok()) return fail(status);
  return exit_status(work, work.dedup());
}

int serve(const Command& command, Engine& engine) {
  const Options& options = command.options;
  if (!options.work_dir.empty() && ::chdir(options.work_dir.c_str()) != 0)
    return fail(Status::system("work directory " + options.work_dir, errno));
  Journal journal;
  journal.set_verbosity(options.verbosity);
  Status status = journal.open(AT_FDCWD, options.log_file);
  if (!status.ok()) return fail(status);
  int exited = 0;
  if (!go_on_in_background(options, &exited)) return exited;
  Options service = command.configured;
  service.address = options.address;
  service.status_fd = options.status_fd;
  status = run_service(service, engine, journal);
  journal.error(status.error);
  return 1;
}

int swrk(const Command& command, Engine& engine) {
  long fd = -1;
  if (command.words.size() != 2 || !parse_number(command.words[1], 0, 1 << 30, &fd).ok() ||
      ::fcntl(static_cast<int>(fd), F_SETFD, FD_CLOEXEC) < 0)
    return fail(Status::bad_option("swrk is given the number of a connected socket"));
  return RpcServer(static_cast<int>(fd), engine, command.configured).serve();
}

int run(const Command& command, Engine& engine) {
  const std::string name = command.words.empty() ? "" : command.words[0];
  if (name == "swrk") return swrk(command, engine);
  const Status contradiction = check_contradictions(command.options);
  if (!contradiction.ok()) return fail(contradiction);
  if (command.words.size() == 2 && name == "cpuinfo")
    return fail(Status::fail("cpuinfo " + command.words[1] +
                             " is not supported: a restore checks the CPU by itself"));
  if (command.words.size() > 1) return fail(Status::bad_option(command.words[1] + " is too much"));
  if (name == "dump") return dump(command, engine, false);
  if (name == "pre-dump") return dump(command, engine, true);
  if (name == "restore") return restore(command, engine);
  if (name == "check") return check(command, engine);
  if (name == "page-server") return page_server(command, engine);
  if (name == "lazy-pages") return lazy_pages(command, engine);
  if (name == "dedup") return dedup(command, engine);
  if (name == "service") return serve(command, engine);
  std::fputs(kUsage, stderr);
  return 1;
}

bool asks_for(const std::vector<std::string>& arguments, const char* letter, const char* name) {
  return std::any_of(arguments.begin(), arguments.end(),
                     [&](const std::string& word) { return word == letter || word == name; });
}

}  // namespace

int run_command(std::vector<std::string> arguments, Engine& engine) {
  fill_standard_descriptors();
  std::signal(SIGCHLD, SIG_DFL);  // our parent's choice would make children vanish
  std::signal(SIGPIPE, SIG_IGN);
  if (asks_for(arguments, "-V", "--version")) return std::fputs(kVersion, stdout) < 0;
  if (asks_for(arguments, "-h", "--help")) return std::fputs(kUsage, stdout) < 0;
  Command command;
  const Status parsed = parse(arguments, command);
  if (!parsed.ok()) return fail(parsed);
  return run(command, engine);
}

}  // namespace criu
