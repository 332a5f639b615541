// engine: /proc/PID/timers, four lines per timer:
//   ID: 3
//   signal: 34/000055d0c3a0f2a0      (the signal, and sigev_value as a pointer)
//   notify: signal/tid.4711          (signal, none or thread; tid if SIGEV_THREAD_ID)
//   ClockID: 1
#include "engine/resources/posix_timer/timer_list.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>

namespace ncr::posix_timer {
namespace {

Result<schema::PosixTimer> parse_timer(const std::string& text) {
  int id = 0;
  int signal = 0;
  unsigned long long value = 0;
  char kind[8] = "";
  char target[4] = "";
  int target_id = 0;
  int clock = 0;
  if (sscanf(text.c_str(), "ID: %d\nsignal: %d/%llx\nnotify: %7[a-z]/%3[a-z].%d\nClockID: %d", &id,
             &signal, &value, kind, target, &target_id, &clock) != 7)
    return Error::unsupported("a timer in /proc/PID/timers is written in an unknown way: " + text);
  schema::PosixTimer timer;
  timer.set_id(id);
  timer.set_signal(signal);
  timer.set_user_value(value);
  timer.set_clock(clock);
  std::string name = kind;
  int notify = name == "signal" ? SIGEV_SIGNAL : name == "none" ? SIGEV_NONE : SIGEV_THREAD;
  if (std::string(target) == "tid") {
    notify |= SIGEV_THREAD_ID;
    timer.set_thread(target_id);
  }
  timer.set_notify(notify);
  return timer;
}

}  // namespace

Result<std::vector<schema::PosixTimer>> parse_timers(std::string_view text) {
  std::vector<schema::PosixTimer> timers;
  while (!text.empty()) {
    size_t next = text.find("\nID:");
    std::string one(text.substr(0, next));
    timers.push_back(TRY(parse_timer(one)));
    text = next == std::string_view::npos ? std::string_view() : text.substr(next + 1);
  }
  std::sort(timers.begin(), timers.end(),
            [](const auto& a, const auto& b) { return a.id() < b.id(); });
  return timers;
}

}  // namespace ncr::posix_timer
