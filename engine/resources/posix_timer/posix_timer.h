// What the halves of posix_timer share.
#pragma once

#include "pie/steps.h"

namespace ncr::posix_timer {

constexpr uint32_t kMaxTimers = 256;  // of one process: what one question can hold

struct KernelItimerspec {
  int64_t interval_s;
  int64_t interval_ns;
  int64_t value_s;
  int64_t value_ns;
};

struct Get {
  static constexpr uint32_t kId = wire::id("posix_timer.Get");
  struct Request {
    uint32_t count;
    uint32_t pad;
    int32_t ids[kMaxTimers];
  };
  struct State {
    KernelItimerspec left;
    int64_t overrun;
  };
  struct Reply {
    State timers[kMaxTimers];
  };
};

struct Create {
  static constexpr uint32_t kId = wire::id("posix_timer.Create");
  int32_t id;
  int32_t clock;
  int32_t notify;  // SIGEV_*
  int32_t signal;
  uint64_t user_value;
  int32_t thread;  // target of SIGEV_THREAD_ID
  uint32_t pad;
  KernelItimerspec left;
};

}  // namespace ncr::posix_timer
