// Whether this machine can run what the image was made on.
#pragma once

#include "engine/base/result.h"
#include "inventory.pb.h"

namespace ncr {

Result<schema::Cpu> describe_this_cpu();
// Malformed ("foreign image"): another architecture, or a feature in use that this CPU lacks,
// named.
Result<> check_cpu(const schema::Inventory& image, const schema::Cpu& here);

}  // namespace ncr
