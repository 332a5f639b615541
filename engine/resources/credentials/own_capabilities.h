// The capabilities of the calling thread, as masks.
#pragma once

#include <cstdint>

#include "engine/base/result.h"
#include "engine/image/image_reader.h"

namespace ncr::credentials {

struct CapabilitySets {
  uint64_t effective = 0;
  uint64_t permitted = 0;
  uint64_t inheritable = 0;
};

Result<CapabilitySets> own_capabilities();
Result<uint64_t> own_effective_capabilities();

// Before the first fork of a restore: that we have what the tasks had. One in a user namespace of
// its own gets its capabilities there.
Result<> check_capabilities(const Image& image);

}  // namespace ncr::credentials
