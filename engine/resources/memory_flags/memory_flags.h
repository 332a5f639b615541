// Flags of a whole address space, set by prctl(2).
#pragma once

#include "pie/wire.h"

namespace ncr::memory_flags {

struct SetMemoryFlags {
  static constexpr uint32_t kId = wire::id("memory_flags.SetMemoryFlags");
  uint32_t thp_disabled;  // PR_SET_THP_DISABLE
  uint32_t deny_exec;     // PR_SET_MDWE, 0: leave alone
};

}  // namespace ncr::memory_flags
