// What the halves of scheduling share.
#pragma once

#include "pie/steps.h"

namespace ncr::scheduling {

struct KernelSchedAttr {  // struct sched_attr of sched_setattr(2), first version
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;
  uint64_t deadline;
  uint64_t period;
};
static_assert(sizeof(KernelSchedAttr) == 48);

constexpr uint32_t kMaxAffinity = 1024;  // bytes: 8192 CPUs

// Followed by affinity_size bytes of CPU mask.
struct Set {
  static constexpr uint32_t kId = wire::id("scheduling.Set");
  KernelSchedAttr attributes;
  int32_t io_priority;  // ioprio_set(2), 0 if never set
  uint32_t affinity_size;
};

}  // namespace ncr::scheduling
