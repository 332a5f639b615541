// The capabilities of the calling thread, as masks.
#pragma once

#include <cstdint>

#include "engine/base/result.h"

namespace ncr::credentials {

struct CapabilitySets {
  uint64_t effective = 0;
  uint64_t permitted = 0;
  uint64_t inheritable = 0;
};

Result<CapabilitySets> own_capabilities();
Result<uint64_t> own_effective_capabilities();

}  // namespace ncr::credentials
