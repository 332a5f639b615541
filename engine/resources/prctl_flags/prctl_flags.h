// What the halves of prctl_flags share.
#pragma once

#include "pie/steps.h"

namespace ncr::prctl_flags {

struct Flags {
  char comm[16];
  uint64_t timer_slack_ns;
  int32_t parent_death_signal;
  int32_t mce_kill;  // PR_MCE_KILL_*
  int32_t tsc;       // PR_TSC_*, 0 unknown
  uint32_t io_flusher;
  uint32_t speculation_store_bypass;  // PR_SPEC_* as PR_GET_SPECULATION_CTRL gives them, 0 unknown
  uint32_t speculation_indirect_branch;
};

struct Get {
  static constexpr uint32_t kId = wire::id("prctl_flags.Get");
  struct Request {
    uint64_t unused;
  };
  struct Reply {
    Flags flags;
  };
};

struct Set {  // all but parent_death_signal
  static constexpr uint32_t kId = wire::id("prctl_flags.Set");
  Flags flags;
};

struct SetParentDeathSignal {
  static constexpr uint32_t kId = wire::id("prctl_flags.SetParentDeathSignal");
  int64_t signal;
};

}  // namespace ncr::prctl_flags
