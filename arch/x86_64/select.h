// This build runs on x86_64.
#pragma once

#include "arch/x86_64/registers.h"
#include "arch/x86_64/springboard.h"

namespace ncr::arch {
using namespace x86_64;  // NOLINT: the one place that selects
}
