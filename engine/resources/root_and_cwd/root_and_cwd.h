#pragma once

#include <stdint.h>

#include "pie/steps.h"

namespace ncr::root_and_cwd {

// The path follows, with its zero byte.
struct ChangeRoot {
  static constexpr uint32_t kId = wire::id("root_and_cwd.ChangeRoot");
  uint32_t path_size;
  uint32_t unused;
};
static_assert(sizeof(ChangeRoot) == 8);

}  // namespace ncr::root_and_cwd
