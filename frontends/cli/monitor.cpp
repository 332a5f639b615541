#include "frontends/cli/monitor.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <ctime>

namespace cli {
namespace {

volatile std::sig_atomic_t g_interrupted = 0;  // a signal handler has nowhere else to write

void on_signal(int) { g_interrupted = 1; }

uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

Monitor::Monitor(ncr_log_level level)
    : terminal_(::isatty(STDERR_FILENO) == 1), start_ns_(now_ns()) {
  callbacks_.user = this;
  callbacks_.progress = &Monitor::progress;
  callbacks_.cancelled = &Monitor::cancelled;
  callbacks_.log = &Monitor::log;
  callbacks_.log_level = level;
  callbacks_.hook = &Monitor::on_hook;
  struct sigaction action {};
  action.sa_handler = on_signal;
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
}

Monitor::~Monitor() {
  clear_line();
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, SIG_DFL);
}

void Monitor::progress(void* user, const char* phase, uint64_t done, uint64_t total) {
  auto* self = static_cast<Monitor*>(user);
  constexpr uint64_t kSecond = 1'000'000'000;
  uint64_t now = now_ns();
  if (!self->terminal_ || now - self->start_ns_ < kSecond || now - self->last_ns_ < kSecond / 10)
    return;
  self->last_ns_ = now;
  self->shown_ = true;
  if (total > 0)
    std::fprintf(stderr, "\r\033[K%s: %3.0f%% (%.1f s)", phase,
                 100.0 * static_cast<double>(done) / static_cast<double>(total),
                 static_cast<double>(now - self->start_ns_) / 1e9);
  else
    std::fprintf(stderr, "\r\033[K%s (%.1f s)", phase,
                 static_cast<double>(now - self->start_ns_) / 1e9);
}

int Monitor::cancelled(void*) { return g_interrupted; }

void Monitor::log(void* user, ncr_log_level level, const char* line) {
  static_cast<Monitor*>(user)->clear_line();
  const char* names[] = {"error", "warning", "info", "debug"};
  std::fprintf(stderr, "nativecr: %s: %s\n", names[level], line);
}

int Monitor::on_hook(void* user, const ncr_hook* hook) {
  auto* self = static_cast<Monitor*>(user);
  return !self->hook_ || self->hook_(*hook) ? 0 : 1;
}

void Monitor::clear_line() {
  if (shown_) std::fputs("\r\033[K", stderr);
  shown_ = false;
}

}  // namespace cli
