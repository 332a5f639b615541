#pragma once

#include <stdint.h>

#include "pie/steps.h"

namespace ncr::inotify {

// The path follows, with its zero byte.
struct AddWatch {
  static constexpr uint32_t kId = wire::id("inotify.AddWatch");
  int32_t fd;
  int32_t descriptor;  // the number the watch must get
  uint32_t mask;
  uint32_t path_size;
};
static_assert(sizeof(AddWatch) == 16);

}  // namespace ncr::inotify
