// What the halves of signal_stack share.
#pragma once

#include "pie/steps.h"

namespace ncr::signal_stack {

struct KernelStack {  // stack_t of sigaltstack(2)
  uint64_t address;
  int32_t flags;  // SS_*
  uint32_t pad;
  uint64_t size;
};
static_assert(sizeof(KernelStack) == 24);

struct Get {
  static constexpr uint32_t kId = wire::id("signal_stack.Get");
  struct Request {
    uint64_t unused;
  };
  struct Reply {
    KernelStack stack;
  };
};

struct Set {
  static constexpr uint32_t kId = wire::id("signal_stack.Set");
  KernelStack stack;
};

}  // namespace ncr::signal_stack
