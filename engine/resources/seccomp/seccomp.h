// What the halves of seccomp share.
#pragma once

#include "pie/steps.h"

namespace ncr::seccomp {

// Followed by the program: `instructions` times 8 bytes.
struct Install {
  static constexpr uint32_t kId = wire::id("seccomp.Install");
  uint32_t flags;  // SECCOMP_FILTER_FLAG_*
  uint32_t instructions;
};

struct EnterStrictMode {
  static constexpr uint32_t kId = wire::id("seccomp.EnterStrictMode");
  uint64_t unused;
};

}  // namespace ncr::seccomp
