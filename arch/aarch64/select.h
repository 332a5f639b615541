// This build runs on aarch64.
#pragma once

#include "arch/aarch64/registers.h"
#include "arch/aarch64/springboard.h"

namespace ncr::arch {
using namespace aarch64;  // NOLINT: the one place that selects
}
