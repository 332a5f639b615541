// What the halves of interval_timer share.
#pragma once

#include "pie/steps.h"

namespace ncr::interval_timer {

constexpr uint32_t kTimers = 3;  // ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF

struct KernelItimerval {
  int64_t interval_s;
  int64_t interval_us;
  int64_t value_s;
  int64_t value_us;
};

struct Get {
  static constexpr uint32_t kId = wire::id("interval_timer.Get");
  struct Request {
    uint64_t unused;
  };
  struct Reply {
    KernelItimerval timers[kTimers];
  };
};

struct Arm {
  static constexpr uint32_t kId = wire::id("interval_timer.Arm");
  uint64_t which;
  KernelItimerval value;
};

}  // namespace ncr::interval_timer
