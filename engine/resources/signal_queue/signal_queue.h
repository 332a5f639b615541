// What the halves of signal_queue share.
#pragma once

#include "pie/steps.h"

namespace ncr::signal_queue {

constexpr uint32_t kSigInfoSize = 128;

struct Queue {
  static constexpr uint32_t kId = wire::id("signal_queue.Queue");
  uint32_t number;
  uint32_t to_process;  // 1: rt_sigqueueinfo to the process, 0: rt_tgsigqueueinfo to this thread
  uint8_t info[kSigInfoSize];  // siginfo_t
};

}  // namespace ncr::signal_queue
