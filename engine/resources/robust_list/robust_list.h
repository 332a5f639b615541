// What the halves of robust_list share.
#pragma once

#include "pie/steps.h"

namespace ncr::robust_list {

struct GetTidAddress {
  static constexpr uint32_t kId = wire::id("robust_list.GetTidAddress");
  struct Request {
    uint64_t unused;
  };
  struct Reply {
    uint64_t address;  // clear_child_tid
  };
};

struct Set {
  static constexpr uint32_t kId = wire::id("robust_list.Set");
  uint64_t clear_child_tid;  // addresses; 0 none
  uint64_t head;
  uint64_t size;
};

}  // namespace ncr::robust_list
