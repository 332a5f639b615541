// nativecr restore
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "frontends/cli/command.h"
#include "frontends/cli/container_options.h"
#include "frontends/cli/monitor.h"

namespace cli {
namespace {

struct RestoreOptions {
  std::string images;
  bool detach = false;
  bool leave_stopped = false;
  bool shell_job = false;
  std::string pidfile;
  unsigned threads = 0;
  std::string trace;
  bool tcp_established = false;
  bool tcp_close = false;
  bool sibling = false;
  ContainerOptions container;
  bool lazy_pages = false;
  std::string lazy_pages_socket;
  CommonOptions common;
};

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

// As a shell reports it: the tree's own exit status is ours.
int wait_for(pid_t root) {
  int status = 0;
  while (::waitpid(root, &status, 0) < 0)
    if (errno != EINTR) return NCR_SYSTEM;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int run(RestoreOptions& options) {
  // Opened first: a pid file that cannot be written must not leave a restored tree behind a failed
  // command.
  File pidfile;
  if (!options.pidfile.empty()) {
    pidfile.reset(std::fopen(options.pidfile.c_str(), "we"));
    if (!pidfile) {
      std::fprintf(stderr, "nativecr: pid file %s: %s\n", options.pidfile.c_str(),
                   std::strerror(errno));
      return NCR_SYSTEM;
    }
  }
  pid_t root = 0;
  {
    Monitor monitor(options.common.level());
    ncr_restore_options request = NCR_RESTORE_OPTIONS_INIT;
    request.images_dir = options.images.c_str();
    request.shell_job = options.shell_job;
    request.leave_stopped = options.leave_stopped;
    request.threads = options.threads;
    request.tcp = options.tcp_established ? NCR_TCP_KEEP
                  : options.tcp_close     ? NCR_TCP_CLOSE
                                          : NCR_TCP_REFUSE;
    request.sibling = options.sibling;
    options.container.apply(request);
    if (!options.trace.empty()) request.trace_file = options.trace.c_str();
    monitor.set_hook(
        [&](const ncr_hook& hook) { return options.container.pass(hook, options.images); });
    request.lazy_pages = options.lazy_pages;
    if (!options.lazy_pages_socket.empty())
      request.lazy_pages_socket = options.lazy_pages_socket.c_str();
    request.callbacks = monitor.callbacks();
    nativecr::Outcome outcome = nativecr::restore(request, &root);
    if (!outcome) return fail(outcome, options.common);
    if (options.common.json) {
      std::puts(outcome.report().c_str());
    } else if (options.detach) {
      auto json = nlohmann::json::parse(outcome.report());
      std::printf("restored %u tasks, root %d, in %.2f ms\n", json["tasks"].get<unsigned>(), root,
                  json["total_ns"].get<double>() / 1e6);
    }
    std::fflush(stdout);
  }
  if (pidfile) std::fprintf(pidfile.get(), "%d\n", root);
  pidfile.reset();
  return options.detach ? 0 : wait_for(root);
}

}  // namespace

Run add_restore(CLI::App& app) {
  auto options = std::make_shared<RestoreOptions>();
  CLI::App* command = app.add_subcommand("restore", "Bring a tree back from an images directory");
  command->add_option("-D,--images", options->images, "Images directory")->required();
  auto* detach = command->add_flag(
      "-d,--detach", options->detach,
      "Return once the tree runs (default: wait for it and exit with its status)");
  command->add_flag("-s,--leave-stopped", options->leave_stopped,
                    "Leave every task stopped (SIGSTOP)");
  command->add_flag("-j,--shell-job", options->shell_job,
                    "Our session and terminal take the place of those outside the tree");
  command
      ->add_flag("--sibling", options->sibling,
                 "The root becomes a child of our parent; with --detach")
      ->needs(detach);
  command->add_option("--pidfile", options->pidfile, "Write the root's pid to this file");
  command->add_option("--threads", options->threads, "Threads that fill memory");
  command->add_option("--trace", options->trace,
                      "Write the phases to this file, in Chrome trace format");
  auto* keep = command->add_flag("--tcp-established", options->tcp_established,
                                 "Bring back the TCP connections of the image");
  command
      ->add_flag("--tcp-close", options->tcp_close,
                 "Let the TCP connections of the image come back closed")
      ->excludes(keep);
  options->container.add_to_restore(*command);
  command->add_flag("--lazy-pages", options->lazy_pages,
                    "Run at once; memory comes from nativecr lazy-pages when it is asked for");
  command->add_option("--lazy-pages-socket", options->lazy_pages_socket,
                      "Where that listens (default: lazy-pages.socket in the images directory)");
  options->common.add_to(*command);
  return [options] { return run(*options); };
}

}  // namespace cli
