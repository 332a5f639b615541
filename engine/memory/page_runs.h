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

struct PrivatePages {
  RunSet pages;   // to be stored: anonymous pages in private VMAs, without the shared zero page
                  // (kRead cannot tell that one)
  RunSet guards;  // MADV_GUARD_INSTALL, Linux 6.13; empty on kernels that cannot tell (before 6.15)
};

// One walk over the page tables.
Result<PrivatePages> find_private_pages(const Fd& pagemap, const schema::Memory& memory,
                                        PageScan how);

// Fills Vma.guards.
void note_guards(const RunSet& guards, schema::Memory* memory);

}  // namespace ncr
