// nativecr dump
#include <sys/resource.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "frontends/cli/command.h"
#include "frontends/cli/container_options.h"
#include "frontends/cli/monitor.h"

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
  CommonOptions common;
};

void print_summary(const std::string& report, const DumpOptions& options) {
  auto json = nlohmann::json::parse(report);
  std::printf("%s: %u tasks, %u threads, %.1f MiB; the tree stood still for %.2f ms of %.2f ms\n",
              options.images.c_str(), json["tasks"].get<unsigned>(),
              json["threads"].get<unsigned>(), json["image_bytes"].get<double>() / 1048576.0,
              json["frozen_ns"].get<double>() / 1e6, json["total_ns"].get<double>() / 1e6);
}

// A large tree takes descriptors of ours for every task; the soft limit is only a habit of shells.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
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
  monitor.set_hook(
      [&](const ncr_hook& hook) { return options.container.pass(hook, options.images); });
  request.callbacks = monitor.callbacks();
  nativecr::Outcome outcome = nativecr::dump(request);
  if (!outcome) return fail(outcome, options.common);
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
  options->common.add_to(*command);
  return [options] { return run(*options); };
}

}  // namespace cli
