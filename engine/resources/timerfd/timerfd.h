#pragma once

#include <stdint.h>

#include "pie/steps.h"

namespace ncr::timerfd {

struct ArmTimerfd {
  static constexpr uint32_t kId = wire::id("timerfd.ArmTimerfd");
  int32_t fd;
  int32_t settime_flags;  // TFD_TIMER_*
  uint64_t value_ns;      // 0: disarmed
  uint64_t interval_ns;
  uint64_t ticks;
};
static_assert(sizeof(ArmTimerfd) == 32);

}  // namespace ncr::timerfd
