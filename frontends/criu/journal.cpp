#include "frontends/criu/journal.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <sstream>

namespace criu {
namespace {

uint64_t now_us() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

// Clients look for these words.
const char* prefix_of(ncr_log_level level) {
  if (level == NCR_LOG_ERROR) return "Error (nativecr): ";
  return level == NCR_LOG_WARNING ? "Warn  (nativecr): " : "";
}

}  // namespace

Journal::Journal() : start_us_(now_us()) {}

Status Journal::open(int directory, const std::string& name) {
  file_.reset();
  if (name.empty() || name == "-") return {};
  file_ =
      Descriptor(::openat(directory, name.c_str(),
                          O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600));
  if (!file_.valid()) return Status::system("log file " + name, errno);
  return {};
}

ncr_log_level Journal::engine_level() const {
  return static_cast<ncr_log_level>(std::clamp(verbosity_ - 1, 0, 3));
}

void Journal::write(ncr_log_level level, const std::string& text) const {
  if (static_cast<int>(level) >= verbosity_) return;
  const uint64_t since = now_us() - start_us_;
  char stamp[40];
  std::snprintf(stamp, sizeof stamp, "(%02u.%06u) ", static_cast<unsigned>(since / 1'000'000),
                static_cast<unsigned>(since % 1'000'000));
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    const std::string whole = stamp + (prefix_of(level) + line) + "\n";
    const int fd = file_.valid() ? file_.get() : STDERR_FILENO;
    if (::write(fd, whole.data(), whole.size()) < 0) return;  // nobody else to tell
  }
}

}  // namespace criu
