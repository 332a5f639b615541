#include "engine/memory/run_set.h"

#include <algorithm>

namespace ncr {

void append(RunSet* runs, uint64_t start, uint64_t end) {
  if (start >= end) return;
  uint64_t pages = (end - start) / kPageSize;
  if (!runs->empty() && runs->back().end() == start) {
    runs->back().pages += pages;
  } else {
    runs->push_back({start, pages});
  }
}

RunSet intersection(const RunSet& a, const RunSet& b) {
  RunSet both;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    append(&both, std::max(a[i].start, b[j].start), std::min(a[i].end(), b[j].end()));
    a[i].end() < b[j].end() ? i++ : j++;
  }
  return both;
}

RunSet difference(const RunSet& a, const RunSet& b) {
  RunSet left;
  size_t j = 0;
  for (const AddressRun& run : a) {
    uint64_t at = run.start;
    while (j < b.size() && b[j].end() <= at) j++;
    for (size_t k = j; k < b.size() && b[k].start < run.end(); k++) {
      append(&left, at, b[k].start);
      at = std::max(at, b[k].end());
    }
    append(&left, at, run.end());
  }
  return left;
}

RunSet set_union(const RunSet& a, const RunSet& b) {
  RunSet all;
  uint64_t covered = 0;
  for (size_t i = 0, j = 0; i < a.size() || j < b.size();) {
    bool first = j == b.size() || (i < a.size() && a[i].start < b[j].start);
    const AddressRun& run = first ? a[i++] : b[j++];
    append(&all, std::max(run.start, covered), run.end());
    covered = std::max(covered, run.end());
  }
  return all;
}

bool contains(const RunSet& runs, const AddressRun& run) {
  auto found = std::partition_point(runs.begin(), runs.end(), [&](const AddressRun& candidate) {
    return candidate.end() < run.end();
  });
  return found != runs.end() && found->start <= run.start;
}

uint64_t count_pages(const RunSet& runs) {
  uint64_t pages = 0;
  for (const AddressRun& run : runs) pages += run.pages;
  return pages;
}

}  // namespace ncr
