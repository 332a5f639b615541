// What the halves of process_flags share.
#pragma once

#include "pie/steps.h"

namespace ncr::process_flags {

struct Get {
  static constexpr uint32_t kId = wire::id("process_flags.Get");
  struct Request {
    uint64_t unused;
  };
  struct Reply {
    uint32_t personality;
    uint32_t child_subreaper;
    int32_t dumpable;
    uint32_t thp_disabled;
    uint32_t mdwe;  // PR_MDWE_*
    uint32_t memory_merge;
  };
};

struct Set {
  static constexpr uint32_t kId = wire::id("process_flags.Set");
  uint32_t child_subreaper;
  uint32_t umask;
  uint32_t memory_merge;
  uint32_t pad;
};

struct SetPersonality {  // of a thread
  static constexpr uint32_t kId = wire::id("process_flags.SetPersonality");
  uint64_t personality;
};

struct SetDumpable {
  static constexpr uint32_t kId = wire::id("process_flags.SetDumpable");
  uint64_t dumpable;
};

}  // namespace ncr::process_flags
