// The VMAs of a frozen task, from /proc/PID/smaps (flags) and /proc/PID/maps; text to records is a pure function.
#pragma once

#include <string>
#include <vector>

#include "engine/base/result.h"
#include "memory.pb.h"

namespace ncr {

// One VMA as the kernel prints it, before files and shared memory objects are given ids.
struct VmaLine {
  schema::Vma vma;          // start, end, prot, kind, heap, advice ... filled in; ids are not
  uint64_t device = 0;      // dev_t of the mapped file
  uint64_t inode = 0;
  std::string path;         // as printed, " (deleted)" removed
  bool deleted = false;
  bool unsupported_io = false;   // VM_IO or VM_PFNMAP: device memory
  std::string flags;        // VmFlags, as printed
};

// Malformed lines name themselves. Source: fs/proc/task_mmu.c, 5.15 to 6.18.
Result<std::vector<VmaLine>> parse_smaps(const std::string& smaps);

}  // namespace ncr
