// Which pages of a task belong into an image: its private ones that are in memory or swap.
#pragma once

#include "engine/base/sys.h"
#include "engine/memory/run_set.h"
#include "task.pb.h"

namespace ncr {

// How the kernel is asked.
enum class PageScan {
  kBest,  // PAGEMAP_SCAN where the kernel has it (6.7)
  kRead,  // by reading /proc/PID/pagemap
};

// Anonymous pages in the private VMAs of `memory`, the shared zero page
// and guard pages left out (kRead cannot tell the zero page).
Result<RunSet> find_private_pages(const Fd& pagemap, const schema::Memory& memory, PageScan how);

// Fills Vma.guards of every private VMA: MADV_GUARD_INSTALL, Linux 6.13. Leaves them empty on
// kernels that cannot tell (before 6.15).
Result<> find_guard_pages(const Fd& pagemap, schema::Memory* memory);

}  // namespace ncr
