// What the halves of rseq share.
#pragma once

#include "pie/steps.h"

namespace ncr::rseq {

struct Register {
  static constexpr uint32_t kId = wire::id("rseq.Register");
  uint64_t address;
  uint32_t size;
  uint32_t signature;
};

}  // namespace ncr::rseq
