// What the halves of mm_layout share.
#pragma once

#include "pie/wire.h"

namespace ncr::mm_layout {

struct GetBreak {
  static constexpr uint32_t kId = wire::id("mm_layout.GetBreak");
  struct Request {
    uint64_t unused;
  };
  struct Reply {
    uint64_t address;
  };
};

struct ProbeLockFuture {  // whether what is mapped from now on would be locked
  static constexpr uint32_t kId = wire::id("mm_layout.ProbeLockFuture");
  struct Request {
    uint64_t unused;
  };
  struct Reply {
    uint64_t flags;  // MCL_FUTURE, MCL_ONFAULT
  };
};

}  // namespace ncr::mm_layout
