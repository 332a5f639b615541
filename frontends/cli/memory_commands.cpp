// nativecr pre-dump, page-server, lazy-pages, dedup: memory in several steps.
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "frontends/cli/command.h"
#include "frontends/cli/monitor.h"
#include "frontends/cli/page_socket.h"
#include "frontends/descriptor_limit.h"

namespace cli {
namespace {

struct PredumpOptions {
  pid_t pid = 0;
  std::string images;
  std::string parent;
  bool to_server = false;
  PageServerAddress server;
  std::string freeze_cgroup;
  uint32_t freeze_timeout_ms = 10'000;
  unsigned threads = 0;
  std::string trace;
  CommonOptions common;
};

struct ServerOptions {  // of page-server and of lazy-pages
  std::string images;
  bool from_server = false;
  std::string socket;
  PageServerAddress server;
  int status_fd = -1;
  CommonOptions common;
};

struct DedupOptions {
  std::string images;
  CommonOptions common;
};

const char* text_or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

int report(const nativecr::Outcome& outcome, const CommonOptions& common,
           const std::function<void(const nlohmann::json&)>& print) {
  if (!outcome) return fail(outcome, common);
  if (common.json)
    std::puts(outcome.report().c_str());
  else
    print(nlohmann::json::parse(outcome.report()));
  return 0;
}

int run(const PredumpOptions& options) {
  raise_descriptor_limit();
  Monitor monitor(options.common.level());
  ncr_dump_options request = NCR_DUMP_OPTIONS_INIT;
  request.pid = options.pid;
  request.images_dir = options.images.c_str();
  request.parent_images = text_or_null(options.parent);
  request.freeze_cgroup = text_or_null(options.freeze_cgroup);
  request.freeze_timeout_ms = options.freeze_timeout_ms;
  request.threads = options.threads;
  request.trace_file = text_or_null(options.trace);
  request.callbacks = monitor.callbacks();
  if (options.to_server) {
    request.page_server = connect_to(options.server);
    if (request.page_server < 0) return NCR_SYSTEM;
  }
  nativecr::Outcome outcome = nativecr::predump(request);
  if (request.page_server >= 0) ::close(request.page_server);
  return report(outcome, options.common, [&](const nlohmann::json& json) {
    std::printf("%s: %.1f MiB of %u tasks, %.1f MiB are as before; they stood still for %.2f ms\n",
                options.images.c_str(), json["pages"]["written"].get<double>() / 256.0,
                json["tasks"].get<unsigned>(), json["pages"]["parent"].get<double>() / 256.0,
                json["frozen_ns"].get<double>() / 1e6);
  });
}

int run_page_server(const ServerOptions& options) {
  Monitor monitor(options.common.level());
  ncr_page_server_options request = NCR_PAGE_SERVER_OPTIONS_INIT;
  request.images_dir = options.images.c_str();
  request.status_fd = options.status_fd;
  request.callbacks = monitor.callbacks();
  request.socket = listen_at(options.server);
  if (request.socket < 0) return NCR_SYSTEM;
  nativecr::Outcome outcome = nativecr::page_server(request);
  ::close(request.socket);
  return report(outcome, options.common, [&](const nlohmann::json& json) {
    std::printf("%s: %.1f MiB of pages\n", options.images.c_str(),
                json["bytes"].get<double>() / 1048576.0);
  });
}

int run_lazy_pages(const ServerOptions& options) {
  raise_descriptor_limit();
  Monitor monitor(options.common.level());
  ncr_lazy_pages_options request = NCR_LAZY_PAGES_OPTIONS_INIT;
  request.images_dir = options.images.c_str();
  request.socket_path = text_or_null(options.socket);
  request.status_fd = options.status_fd;
  request.callbacks = monitor.callbacks();
  if (options.from_server) {
    request.page_server = connect_to(options.server);
    if (request.page_server < 0) return NCR_SYSTEM;
  }
  nativecr::Outcome outcome = nativecr::lazy_pages(request);
  return report(outcome, options.common, [](const nlohmann::json& json) {
    std::printf("%llu pages delivered, %llu page faults\n",
                json["pages"]["copied"].get<unsigned long long>(),
                json["pages"]["faults"].get<unsigned long long>());
  });
}

int run(const DedupOptions& options) {
  nativecr::Outcome outcome = nativecr::dedup(options.images);
  return report(outcome, options.common, [](const nlohmann::json& json) {
    std::printf("%.1f MiB given up\n", json["bytes"].get<double>() / 1048576.0);
  });
}

void add_images(CLI::App& command, std::string& images) {
  command.add_option("-D,--images", images, "Images directory")->required();
}

void add_status_fd(CLI::App& command, int& status_fd) {
  command.add_option("--status-fd", status_fd,
                     "Write a NUL byte to this descriptor once the command listens");
}

}  // namespace

Run add_predump(CLI::App& app) {
  auto options = std::make_shared<PredumpOptions>();
  CLI::App* command = app.add_subcommand(
      "pre-dump", "Write the memory of a tree that runs on: the parent of a later dump");
  command->add_option("-t,--pid", options->pid, "Root of the process tree")
      ->required()
      ->check(CLI::PositiveNumber);
  add_images(*command, options->images);
  command->add_option("--parent", options->parent,
                      "Images directory of the pre-dump before, relative to --images");
  command->add_flag("--page-server", options->to_server, "Send pages to a page server");
  options->server.add_to(*command);
  command->add_option("--freeze-cgroup", options->freeze_cgroup,
                      "Freeze through this cgroup directory (v1 freezer or v2)");
  command->add_option("--freeze-timeout", options->freeze_timeout_ms,
                      "Milliseconds until a task that does not stop is an error");
  command->add_option("--threads", options->threads, "Threads that copy memory");
  command->add_option("--trace", options->trace,
                      "Write the phases to this file, in Chrome trace format");
  options->common.add_to(*command);
  return [options] { return run(*options); };
}

Run add_page_server(CLI::App& app) {
  auto options = std::make_shared<ServerOptions>();
  CLI::App* command =
      app.add_subcommand("page-server", "Take the pages of a dump on another machine");
  add_images(*command, options->images);
  options->server.add_to(*command);
  add_status_fd(*command, options->status_fd);
  options->common.add_to(*command);
  return [options] { return run_page_server(*options); };
}

Run add_lazy_pages(CLI::App& app) {
  auto options = std::make_shared<ServerOptions>();
  CLI::App* command = app.add_subcommand(
      "lazy-pages", "Give a tree restored with --lazy-pages its memory when it asks for it");
  add_images(*command, options->images);
  command->add_option(
      "--socket", options->socket,
      "Where restore finds us (default: lazy-pages.socket in the images directory)");
  command->add_flag("--page-server", options->from_server,
                    "Fetch pages from the dump --lazy-pages that has them");
  options->server.add_to(*command);
  add_status_fd(*command, options->status_fd);
  options->common.add_to(*command);
  return [options] { return run_lazy_pages(*options); };
}

Run add_dedup(CLI::App& app) {
  auto options = std::make_shared<DedupOptions>();
  CLI::App* command = app.add_subcommand(
      "dedup", "Give up what the parents of an image store and the image does not use");
  add_images(*command, options->images);
  options->common.add_to(*command);
  return [options] { return run(*options); };
}

}  // namespace cli
