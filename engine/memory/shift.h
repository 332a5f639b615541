// The one number by which staged memory is displaced (docs/adr/0003). Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/address_ranges.h"

namespace ncr {

// `finals`: where the image's mappings will be, of all tasks; `own`: where ours are now. user_end
// is a power of two. Staged addresses wrap around at user_end. Whole GiBs are compared, with room
// for our own mappings to grow.
Result<uint64_t> choose_shift(const std::vector<AddressRange>& finals,
                              const std::vector<AddressRange>& own, uint64_t user_end);

}  // namespace ncr
