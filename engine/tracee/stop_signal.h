// The signal by which a thread in the blob stops itself for the engine (docs/adr/0001).
#pragma once

#include <cstdint>

#include "engine/base/proc.h"

namespace ncr {

struct StopSignal {
  int number = 0;       // 0: there is none
  bool borrow = false;  // it has to be ignored meanwhile
};

// Masks as in /proc/PID/status, bit n - 1 for signal n: of all threads of a process together.
struct SignalUse {
  void add(const proc::Status& thread);

  uint64_t ignored = 0;
  uint64_t caught = 0;
  uint64_t blocked = 0;
  uint64_t pending = 0;
};

// One that the process ignores anyway, and that nobody waits for; else one that is as good as never
// sent.
StopSignal choose_stop_signal(const SignalUse& use);

}  // namespace ncr
