// What the halves of rlimit share.
#pragma once

#include "pie/steps.h"

namespace ncr::rlimit {

constexpr uint32_t kResources = 16;

struct Limit {
  uint64_t soft;
  uint64_t hard;
};

struct Get {
  static constexpr uint32_t kId = wire::id("rlimit.Get");
  struct Request {
    uint64_t unused;
  };
  struct Reply {
    Limit limits[kResources];
  };
};

struct Set {
  static constexpr uint32_t kId = wire::id("rlimit.Set");
  uint64_t wanted;  // bit n: limits[n] is to be set
  Limit limits[kResources];
};

}  // namespace ncr::rlimit
