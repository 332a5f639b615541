// The VMAs of a frozen task, from /proc/PID/smaps; text to records is a pure function.
#pragma once

#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/vma_line.h"

namespace ncr {

// Malformed lines name themselves. Source: fs/proc/task_mmu.c, 5.15 to 6.18. Understands
// /proc/PID/maps as well, whose VMAs then lack flags.
Result<std::vector<VmaLine>> parse_smaps(std::string_view smaps);

}  // namespace ncr
