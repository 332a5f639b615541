// The subcommands of nativecr. Each one declares its options on a CLI::App and returns the function
// that runs it.
#pragma once

#include <nativecr/nativecr.hpp>

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>

namespace cli {

using Run = std::function<int()>;  // returns the exit status

Run add_dump(CLI::App& app);
Run add_restore(CLI::App& app);
Run add_check(CLI::App& app);
Run add_inspect(CLI::App& app);
Run add_verify(CLI::App& app);
Run add_predump(CLI::App& app);
Run add_page_server(CLI::App& app);
Run add_lazy_pages(CLI::App& app);
Run add_dedup(CLI::App& app);

// --log-level and --json, which every command has.
struct CommonOptions {
  bool json = false;
  std::string log_level = "warning";
  void add_to(CLI::App& app);
  ncr_log_level level() const;
};

// Prints the error of a failed call (a sentence on stderr, or a JSON object on stdout with --json)
// and returns its exit status.
int fail(const nativecr::Outcome& outcome, const CommonOptions& common);

}  // namespace cli
