// What a person sees and can do while a request runs: a progress line on a terminal after the first
// second, log lines, and Ctrl-C.
#pragma once

#include <nativecr/nativecr.h>

#include <functional>
#include <string>

namespace cli {

class Monitor {
 public:
  explicit Monitor(ncr_log_level level);
  ~Monitor();  // clears the progress line, puts the signal actions back
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  // Called at the moments of a request; false fails it.
  void set_hook(std::function<bool(const ncr_hook&)> hook) { hook_ = std::move(hook); }
  const ncr_callbacks* callbacks() const { return &callbacks_; }

 private:
  static void progress(void* user, const char* phase, uint64_t done, uint64_t total);
  static int cancelled(void* user);
  static void log(void* user, ncr_log_level level, const char* line);
  static int on_hook(void* user, const ncr_hook* hook);
  void clear_line();

  ncr_callbacks callbacks_ = NCR_CALLBACKS_INIT;
  std::function<bool(const ncr_hook&)> hook_;
  bool terminal_;
  bool shown_ = false;
  uint64_t start_ns_;
  uint64_t last_ns_ = 0;
};

}  // namespace cli
