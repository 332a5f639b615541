// Sets of pages as ascending, not adjacent runs. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/ids.h"

namespace ncr {

struct AddressRun {
  uint64_t start = 0;
  uint64_t pages = 0;
  uint64_t end() const { return start + pages * kPageSize; }
  bool operator==(const AddressRun&) const = default;
};

using RunSet = std::vector<AddressRun>;

// Adds [start, end) behind all others, joined to the last if it touches it.
void append(RunSet* runs, uint64_t start, uint64_t end);

RunSet intersection(const RunSet& a, const RunSet& b);
RunSet difference(const RunSet& a, const RunSet& b);
RunSet set_union(const RunSet& a, const RunSet& b);
bool contains(const RunSet& runs, const AddressRun& run);
uint64_t count_pages(const RunSet& runs);

}  // namespace ncr
