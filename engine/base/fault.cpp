// Test builds only: counts fault points and fails or kills at the chosen one.
#include "engine/base/fault.h"

#if defined(NCR_FAULT_HOOKS)

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <string>

namespace ncr::fault {
namespace {

std::string text_of(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? "" : text;
}

struct Plan {
  std::string fail_at = text_of("NATIVECR_FAULT_FAIL_AT");
  long kill_at = std::strtol(text_of("NATIVECR_FAULT_KILL_AT").c_str(), nullptr, 10);
  std::string count_file = text_of("NATIVECR_FAULT_COUNT");
  std::atomic<long> passed{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::set<std::string> places;

  // Appended at once: a child of a restore has no orderly end.
  void note(const std::string& line) const {
    if (std::FILE* file = std::fopen(count_file.c_str(), "ae")) {
      std::fprintf(file, "%s\n", line.c_str());
      std::fclose(file);
    }
  }
  void pass(const std::string& place, long number) {
    std::lock_guard lock(mutex);
    if (places.insert(place).second) note(std::to_string(number) + " " + place);
  }
  ~Plan() {
    if (!count_file.empty()) note(std::to_string(passed.load()));
  }
};

}  // namespace

bool fires(const char* file, int line) {
  static Plan plan;  // the one piece of global state, and only in test builds
  const long number = ++plan.passed;
  if (plan.kill_at == number) std::raise(SIGKILL);
  if (plan.count_file.empty() && plan.fail_at.empty()) return false;
  const std::string place = std::string(file) + ":" + std::to_string(line);
  if (!plan.count_file.empty()) plan.pass(place, number);
  return plan.fail_at == place && !plan.failed.exchange(true);
}

}  // namespace ncr::fault
#endif
