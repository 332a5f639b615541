// Test builds only: counts fault points and fails or kills at the chosen one.
#include "engine/base/fault.h"

#if defined(NCR_FAULT_HOOKS)

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace ncr::fault {
namespace {

std::string text_of(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? "" : text;
}

struct Plan {
  std::string fail_at = text_of("NATIVECR_FAULT_FAIL_AT");
  long kill_at = std::strtol(text_of("NATIVECR_FAULT_KILL_AT").c_str(), nullptr, 10);
  const char* count_file = std::getenv("NATIVECR_FAULT_COUNT");
  std::atomic<long> passed{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::map<std::pair<std::string, int>, long> first_passed;  // by file and line

  void note(const char* file, int line, long number) {
    std::lock_guard lock(mutex);
    first_passed.try_emplace({file, line}, number);
  }
  ~Plan() {
    if (count_file == nullptr) return;
    if (std::FILE* file = std::fopen(count_file, "we")) {
      std::fprintf(file, "%ld\n", passed.load());
      for (const auto& [place, number] : first_passed)
        std::fprintf(file, "%ld %s:%d\n", number, place.first.c_str(), place.second);
      std::fclose(file);
    }
  }
};

}  // namespace

bool fires(const char* file, int line) {
  static Plan plan;  // the one piece of global state, and only in test builds
  long number = ++plan.passed;
  if (plan.count_file != nullptr) plan.note(file, line, number);
  if (plan.kill_at == number) std::raise(SIGKILL);
  return plan.fail_at == std::string(file) + ":" + std::to_string(line) && !plan.failed.exchange(true);
}

}  // namespace ncr::fault
#endif
