#pragma once

#include <stdint.h>

#include "pie/steps.h"

namespace ncr::fanotify {

// The path follows, with its zero byte.
struct AddMark {
  static constexpr uint32_t kId = wire::id("fanotify.AddMark");
  int32_t fd;
  uint32_t flags;  // FAN_MARK_*, of what it is on too
  uint32_t mask;
  uint32_t ignored_mask;
  uint32_t path_size;
  uint32_t unused;
};
static_assert(sizeof(AddMark) == 24);

}  // namespace ncr::fanotify
