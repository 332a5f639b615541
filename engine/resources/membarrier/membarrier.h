// What the halves of membarrier share.
#pragma once

#include "pie/steps.h"

namespace ncr::membarrier {

struct Get {
  static constexpr uint32_t kId = wire::id("membarrier.Get");
  struct Request {
    uint64_t unused;
  };
  struct Reply {
    uint64_t registrations;  // MEMBARRIER_CMD_REGISTER_*
  };
};

struct Register {
  static constexpr uint32_t kId = wire::id("membarrier.Register");
  uint64_t registrations;
};

}  // namespace ncr::membarrier
