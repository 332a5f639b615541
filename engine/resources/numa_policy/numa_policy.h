// What the halves of numa_policy share.
#pragma once

#include "pie/steps.h"

namespace ncr::numa_policy {

constexpr uint32_t kMostNodes = 1024;  // CONFIG_NODES_SHIFT is 10 at most
constexpr uint32_t kWords = kMostNodes / 64;

struct Get {
  static constexpr uint32_t kId = wire::id("numa_policy.Get");
  struct Request {
    uint64_t unused;
  };
  struct Reply {
    int32_t mode;  // MPOL_* and its flags; 0 also where the kernel knows no nodes
    int32_t unused;
    uint64_t nodes[kWords];
  };
};

struct Set {
  static constexpr uint32_t kId = wire::id("numa_policy.Set");
  int32_t mode;
  int32_t unused;
  uint64_t nodes[kWords];
};
static_assert(sizeof(Set) == 8 + 8 * kWords);

}  // namespace ncr::numa_policy
