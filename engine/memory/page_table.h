// Entries of /proc/PID/pagemap.
#pragma once

#include <sys/types.h>

#include <functional>

#include "engine/base/sys.h"
#include "engine/memory/run_set.h"

namespace ncr {

// Documentation/admin-guide/mm/pagemap.rst.
class PageEntry {
 public:
  explicit PageEntry(uint64_t bits) : bits_(bits) {}
  bool present() const { return bit(63); }
  bool swapped() const { return bit(62); }
  bool file() const { return bit(61); }       // of a file, or shared memory: not private
  bool guard() const { return bit(58); }      // since 6.15
  bool exclusive() const { return bit(56); }  // mapped once in the whole system
  uint64_t frame() const { return bits_ & ((uint64_t{1} << 55) - 1); }  // 0 without CAP_SYS_ADMIN

 private:
  bool bit(unsigned number) const { return (bits_ >> number & 1) != 0; }
  uint64_t bits_;
};

Result<Fd> open_pagemap(pid_t pid);

// `see` is called for every page of `pages`, ascending.
Result<> read_entries(const Fd& pagemap, const RunSet& pages,
                      const std::function<void(uint64_t address, PageEntry)>& see);

}  // namespace ncr
