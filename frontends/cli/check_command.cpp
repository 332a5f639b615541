// nativecr check, nativecr verify
#include <cstdio>
#include <nlohmann/json.hpp>

#include "frontends/cli/command.h"

namespace cli {
namespace {

using nlohmann::json;

struct CheckOptions {
  pid_t pid = 0;
  CommonOptions common;
};

void print_check(const json& report) {
  for (const json& feature : report["features"]) {
    bool present = feature["present"];
    std::printf("%-4s %s\n", present ? "ok" : "--", feature["name"].get<std::string>().c_str());
    if (!present)
      std::printf("       lost (%s): %s\n", feature["need"].get<std::string>().c_str(),
                  feature["lost"].get<std::string>().c_str());
  }
  for (const json& blocker : report["blockers"]) {
    std::printf("blocked: task %d (%s): %s: %s\n", blocker["pid"].get<int>(),
                blocker["comm"].get<std::string>().c_str(),
                blocker["object"].get<std::string>().c_str(),
                blocker["reason"].get<std::string>().c_str());
    std::string way_out = blocker["way_out"];
    if (!way_out.empty()) std::printf("         way out: %s\n", way_out.c_str());
  }
}

int run(const CheckOptions& options) {
  nativecr::Outcome outcome = nativecr::check(options.pid);
  std::string report = outcome.report();
  if (report.empty()) return fail(outcome, options.common);
  if (options.common.json)
    std::puts(report.c_str());
  else
    print_check(json::parse(report));
  if (!outcome && !options.common.json)
    std::fprintf(stderr, "nativecr: %s\n", outcome.error().c_str());
  if (outcome && !options.common.json)
    std::puts(options.pid == 0 ? "this kernel can checkpoint and restore"
                               : "nothing blocks a dump of this tree");
  return outcome.status();
}

struct VerifyOptions {
  std::string images;
  CommonOptions common;
};

int run(const VerifyOptions& options) {
  nativecr::Outcome outcome = nativecr::verify(options.images);
  if (!outcome) return fail(outcome, options.common);
  if (options.common.json) {
    std::puts(outcome.report().c_str());
    return 0;
  }
  json report = json::parse(outcome.report());
  std::printf("%s: whole: %u files, %.1f MiB, %u tasks, and this machine can run it\n",
              options.images.c_str(), report["files"].get<unsigned>(),
              report["bytes"].get<double>() / 1048576.0, report["tasks"].get<unsigned>());
  return 0;
}

}  // namespace

Run add_check(CLI::App& app) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command = app.add_subcommand(
      "check", "What this kernel offers; with --pid, everything that blocks a dump of that tree");
  command->add_option("-t,--pid", options->pid, "Root of a process tree")
      ->check(CLI::PositiveNumber);
  options->common.add_to(*command);
  return [options] { return run(*options); };
}

Run add_verify(CLI::App& app) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* command =
      app.add_subcommand("verify", "Read every byte of an image and check it, without restoring");
  command->add_option("-D,--images", options->images, "Images directory")->required();
  options->common.add_to(*command);
  return [options] { return run(*options); };
}

}  // namespace cli
