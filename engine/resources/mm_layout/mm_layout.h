// What the halves of mm_layout share.
#pragma once

#include "pie/wire.h"

namespace ncr::mm_layout {

constexpr uint32_t kAuxvSize = 1024;  // bytes; mm_struct.saved_auxv is some 400

struct Get {
  static constexpr uint32_t kId = wire::id("mm_layout.Get");
  struct Request {
    uint64_t unused;
  };
  struct Reply {
    uint64_t brk;
    uint64_t auxv_size;  // bytes, 0: this kernel cannot say
    uint64_t auxv[kAuxvSize / sizeof(uint64_t)];
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
