// What the halves of signal_action share.
#pragma once

#include "pie/steps.h"

namespace ncr::signal_action {

constexpr uint32_t kSignals = 64;

struct KernelSigaction {  // struct sigaction of rt_sigaction(2), not libc's
  uint64_t handler;
  uint64_t flags;
  uint64_t restorer;
  uint64_t mask;
};
static_assert(sizeof(KernelSigaction) == 32);

struct Get {
  static constexpr uint32_t kId = wire::id("signal_action.Get");
  struct Request {
    uint64_t wanted;  // bit n-1: signal n
  };
  struct Reply {
    KernelSigaction actions[kSignals];  // zero where not wanted
  };
};

struct Numbered {
  uint64_t number;
  KernelSigaction action;
};

// Followed by `count` Numbered, ascending. Every other signal is set to its default.
struct Set {
  static constexpr uint32_t kId = wire::id("signal_action.Set");
  uint64_t count;
};

}  // namespace ncr::signal_action
