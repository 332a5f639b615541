// /proc/PID/pagemap: 8 bytes for every page of the address space, at the offset of its page number.
// A read costs the kernel a walk over the range, mapped or not, so small gaps are read along and
// large ones are skipped.
#include "engine/memory/page_table.h"

#include <fcntl.h>

#include <algorithm>

namespace ncr {

Result<Fd> open_pagemap(pid_t pid) {
  return sys::open(strf("/proc/%d/pagemap", pid).c_str(), O_RDONLY);
}

Result<> read_entries(const Fd& pagemap, const RunSet& pages,
                      const std::function<void(uint64_t address, PageEntry)>& see) {
  constexpr uint64_t kWindow = 4096 * kPageSize;
  constexpr uint64_t kGap = 64 * kPageSize;
  std::vector<uint64_t> entries;
  uint64_t window = 0, window_end = 0;
  for (size_t i = 0; i < pages.size(); i++) {
    for (uint64_t at = pages[i].start; at < pages[i].end(); at += kPageSize) {
      if (at >= window_end) {
        window = window_end = at;
        for (size_t j = i; j < pages.size() && pages[j].start < window + kWindow; j++) {
          if (pages[j].start > window_end + kGap) break;
          window_end = std::min(pages[j].end(), window + kWindow);
        }
        entries.resize((window_end - window) / kPageSize);
        TRY(sys::pread_exact(pagemap, entries.data(), entries.size() * sizeof(uint64_t),
                             window / kPageSize * sizeof(uint64_t)));
      }
      see(at, PageEntry(entries[(at - window) / kPageSize]));
    }
  }
  return {};
}

}  // namespace ncr
