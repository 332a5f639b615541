#pragma once

#include "engine/resources/room.h"

namespace ncr::eventfd {

// Whether an eventfd is a semaphore, on kernels that do not say; its count is as before afterwards.
Result<bool> semaphore_by_reading(const Fd& fd, uint64_t count);

}  // namespace ncr::eventfd
