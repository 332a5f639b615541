#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "frontends/cli/command.h"

namespace cli {
namespace {

const std::map<std::string, ncr_log_level>& levels() {
  static const std::map<std::string, ncr_log_level> by_name = {{"error", NCR_LOG_ERROR},
                                                               {"warning", NCR_LOG_WARNING},
                                                               {"info", NCR_LOG_INFO},
                                                               {"debug", NCR_LOG_DEBUG}};
  return by_name;
}

const char* status_name(ncr_status status) {
  switch (status) {
    case NCR_OK:
      return "ok";
    case NCR_USAGE:
      return "usage";
    case NCR_UNSUPPORTED:
      return "unsupported";
    case NCR_MALFORMED:
      return "malformed";
    case NCR_GONE:
      return "gone";
    case NCR_CANCELLED:
      return "cancelled";
    case NCR_SYSTEM:
      break;
  }
  return "system";
}

}  // namespace

void CommonOptions::add_to(CLI::App& app) {
  app.add_flag("--json", json, "Print the report, or the error, as one JSON object on stdout");
  app.add_option("--log-level", log_level, "error, warning, info or debug")
      ->check(CLI::IsMember({"error", "warning", "info", "debug"}));
}

ncr_log_level CommonOptions::level() const { return levels().at(log_level); }

int fail(const nativecr::Outcome& outcome, const CommonOptions& common) {
  if (common.json) {
    nlohmann::ordered_json json = {{"error",
                                    {{"status", status_name(outcome.status())},
                                     {"exit", outcome.status()},
                                     {"text", outcome.error()}}}};
    std::puts(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  } else {
    std::fprintf(stderr, "nativecr: %s\n", outcome.error().c_str());
  }
  // The host cancelled itself by a signal: to a shell that is a failure of the system.
  return outcome.status() == NCR_CANCELLED ? NCR_SYSTEM : outcome.status();
}

}  // namespace cli
