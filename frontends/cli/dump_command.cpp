// nativecr dump

#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "frontends/cli/command.h"
#include "frontends/cli/container_options.h"
#include "frontends/cli/monitor.h"
#include "frontends/cli/page_socket.h"
#include "frontends/descriptor_limit.h"

namespace cli {
namespace {

struct DumpOptions {
  pid_t pid = 0;
  std::string images;
  bool leave_running = false;
  bool leave_stopped = false;
  bool shell_job = false;
  std::string freeze_cgroup;
  uint32_t freeze_timeout_ms = 10'000;
  unsigned threads = 0;
  std::string trace;
  bool tcp_established = false;
  bool tcp_close = false;
  bool tcp_skip_in_flight = false;
  std::string network_lock = "nftables";
  ContainerOptions container;
  std::string parent;
  bool track_memory = false;
  bool to_server = false;
  bool lazy_pages = false;
  bool auto_dedup = false;
  PageServerAddress server;
  int status_fd = -1;
  CommonOptions common;
};

void print_summary(const std::string& report, const DumpOptions& options) {
  auto json = nlohmann::json::parse(report);
  std::printf("%s: %u tasks, %u threads, %.1f MiB; the tree stood still for %.2f ms of %.2f ms\n",
              options.images.c_str(), json["tasks"].get<unsigned>(),
              json["threads"].get<unsigned>(), json["image_bytes"].get<double>() / 1048576.0,
              json["frozen_ns"].get<double>() / 1e6, json["total_ns"].get<double>() / 1e6);
}

void add_connection_options(CLI::App& command, DumpOptions& options) {
  auto* keep = command.add_flag("--tcp-established", options.tcp_established,
                                "Keep established TCP connections");
  command
      .add_flag("--tcp-close", options.tcp_close,
                "Let established TCP connections come back closed")
      ->excludes(keep);
  command.add_flag("--tcp-skip-in-flight", options.tcp_skip_in_flight,
                   "Drop connections that were not accepted yet");
  command
      .add_option("--network-lock", options.network_lock,
                  "What keeps packets from kept connections: nftables or skip")
      ->check(CLI::IsMember({"nftables", "skip"}))
      ->capture_default_str();
}

int run(DumpOptions& options) {
  raise_descriptor_limit();
  Monitor monitor(options.common.level());
  ncr_dump_options request = NCR_DUMP_OPTIONS_INIT;
  request.pid = options.pid;
  request.images_dir = options.images.c_str();
  request.final_state = options.leave_running   ? NCR_LEAVE_RUNNING
                        : options.leave_stopped ? NCR_LEAVE_STOPPED
                                                : NCR_KILL;
  request.shell_job = options.shell_job;
  if (!options.freeze_cgroup.empty()) request.freeze_cgroup = options.freeze_cgroup.c_str();
  request.freeze_timeout_ms = options.freeze_timeout_ms;
  request.threads = options.threads;
  request.tcp = options.tcp_established ? NCR_TCP_KEEP
                : options.tcp_close     ? NCR_TCP_CLOSE
                                        : NCR_TCP_REFUSE;
  request.tcp_skip_in_flight = options.tcp_skip_in_flight;
  request.network_lock = options.network_lock == "skip" ? NCR_LOCK_SKIP : NCR_LOCK_NFTABLES;
  options.container.apply(request);
  if (!options.trace.empty()) request.trace_file = options.trace.c_str();
  monitor.set_hook([&](const ncr_hook& hook) {
    // A lazy restore may fetch pages now.
    const bool ready = options.status_fd >= 0 && std::strcmp(hook.name, "status-ready") == 0;
    if (ready && ::write(options.status_fd, "", 1) != 1) return false;
    return options.container.pass(hook, options.images);
  });
  request.callbacks = monitor.callbacks();
  if (!options.parent.empty()) request.parent_images = options.parent.c_str();
  request.track_memory = options.track_memory;
  request.lazy_pages = options.lazy_pages;
  if (options.lazy_pages || options.to_server) {
    request.page_server =
        options.lazy_pages ? listen_at(options.server) : connect_to(options.server);
    if (request.page_server < 0) return NCR_SYSTEM;
  }
  nativecr::Outcome outcome = nativecr::dump(request);
  if (request.page_server >= 0) ::close(request.page_server);
  if (!outcome) return fail(outcome, options.common);
  if (options.auto_dedup) {
    nativecr::Outcome given_up = nativecr::dedup(options.images);
    if (!given_up) return fail(given_up, options.common);
  }
  if (options.common.json)
    std::puts(outcome.report().c_str());
  else
    print_summary(outcome.report(), options);
  return 0;
}

}  // namespace

Run add_dump(CLI::App& app) {
  auto options = std::make_shared<DumpOptions>();
  CLI::App* command =
      app.add_subcommand("dump", "Write a running process tree to an images directory");
  command->add_option("-t,--pid", options->pid, "Root of the process tree")
      ->required()
      ->check(CLI::PositiveNumber);
  command->add_option("-D,--images", options->images, "Images directory; made if missing")
      ->required();
  auto* running = command->add_flag("-R,--leave-running", options->leave_running,
                                    "Let the tree run on afterwards (default: it is killed)");
  command
      ->add_flag("-s,--leave-stopped", options->leave_stopped,
                 "Leave the tree stopped afterwards (SIGSTOP)")
      ->excludes(running);
  command->add_flag("-j,--shell-job", options->shell_job,
                    "The session leader or terminal may lie outside the tree");
  command->add_option("--freeze-cgroup", options->freeze_cgroup,
                      "Freeze through this cgroup directory (v1 freezer or v2)");
  command
      ->add_option("--freeze-timeout", options->freeze_timeout_ms,
                   "Milliseconds until a task that does not stop is an error")
      ->capture_default_str();
  command->add_option("--threads", options->threads,
                      "Threads that copy memory (default: one per CPU, 4 at most)");
  command->add_option("--trace", options->trace,
                      "Write the phases to this file, in Chrome trace format");
  add_connection_options(*command, *options);
  options->container.add_to_dump(*command);
  command->add_option("--parent", options->parent,
                      "Images directory, relative to --images, whose pages are not stored again");
  command->add_flag("--track-memory", options->track_memory,
                    "Note checksums of pages, so that the next dump finds what has changed faster");
  auto* server = command->add_flag("--page-server", options->to_server,
                                   "Send pages to a page server on another machine");
  command
      ->add_flag("--lazy-pages", options->lazy_pages,
                 "Serve pages to a lazy restore at --address and --port, then end the tree")
      ->excludes(server)
      ->excludes(running);
  command->add_flag("--auto-dedup", options->auto_dedup,
                    "Afterwards give up what the parent images store in vain (see dedup)");
  options->server.add_to(*command);
  command->add_option("--status-fd", options->status_fd,
                      "Write a NUL byte to this descriptor once pages can be fetched");
  options->common.add_to(*command);
  return [options] { return run(*options); };
}

}  // namespace cli
