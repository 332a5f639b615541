#pragma once

#include <stdint.h>

#include "pie/steps.h"

namespace ncr::file_lock {

// A POSIX record lock, taken by the process itself.
struct TakeLock {
  static constexpr uint32_t kId = wire::id("file_lock.TakeLock");
  int32_t fd;
  int32_t write;
  uint64_t start;
  uint64_t length;  // 0: to the end of the file
};
static_assert(sizeof(TakeLock) == 24);

}  // namespace ncr::file_lock
