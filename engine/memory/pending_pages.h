// The pages of one address space that have not been delivered yet. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "engine/memory/lazy_ranges.h"

namespace ncr {

class PendingPages {
 public:
  struct Run {
    uint64_t start;
    uint64_t end;
    uint64_t stored;  // of the page at `start`, in Image::pages
  };

  void add(uint64_t start, uint64_t end, uint64_t stored);
  bool empty() const { return runs_.empty(); }

  // The page at this address and what follows it in memory and in the image, `most` bytes at most.
  std::optional<Run> at(uint64_t address, uint64_t most) const;
  // The first at or behind an address; the very first if there is none.
  std::optional<Run> next(uint64_t address, uint64_t most) const;

  // Delivered, or gone: unmapped, dropped by madvise(2).
  void remove(uint64_t start, uint64_t end);
  // mremap(2): what lay in [from, from + size) lies at `to`.
  void move(uint64_t from, uint64_t to, uint64_t size);

 private:
  struct Rest {
    uint64_t end;
    uint64_t stored;
  };
  // No run reaches across `address` afterwards.
  void cut(uint64_t address);

  std::map<uint64_t, Rest> runs_;  // by start
};

}  // namespace ncr
