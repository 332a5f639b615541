// Which pages of several address spaces are one physical page, left over from a fork: they are
// stored once.
#pragma once

#include <sys/types.h>

#include <memory>
#include <vector>

#include "engine/base/sys.h"
#include "engine/memory/page_table.h"
#include "engine/memory/run_set.h"

namespace ncr {

// What makes two pages the same.
enum class PageKey {
  kFrame,    // the page frame number; becomes kContent where the kernel hides it (no CAP_SYS_ADMIN)
  kContent,  // a checksum
};

// Pages of a task that are those of `owner` (in the order of add()) at the same addresses.
struct SharedRun {
  AddressRun run;
  uint32_t owner = 0;
};

struct FoundPages {
  std::vector<SharedRun> shared;  // with an earlier task, ascending
  RunSet mapped_once;             // of those that were looked at, what nobody else maps
};

class SharedPages {
 public:
  explicit SharedPages(PageKey key);
  SharedPages(SharedPages&&) noexcept;
  ~SharedPages();

  // Enters the private pages of one more task. Looks only at pages whose addresses are in use in
  // another task.
  Result<FoundPages> add(pid_t pid, const RunSet& pages);

  // Page frames can move (compaction, KSM) between the moment an owner was looked at and the moment
  // another task was, so equal numbers may have lied. Returns which of these pages of `owner` are
  // not where they were: what was said about them does not hold. To be asked after the last add().
  Result<RunSet> moved(uint32_t owner, const RunSet& pages);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ncr
