// The VMAs of a frozen task, from /proc/PID/smaps; text to records is a pure function.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "memory.pb.h"

namespace ncr {

// One VMA as the kernel prints it, before files and shared memory objects are given ids.
struct VmaLine {
  schema::Vma vma;      // start, end, prot, kind, heap, advice ... filled in; ids are not
  uint64_t device = 0;  // dev_t of the mapped file
  uint64_t inode = 0;
  // As printed, newlines put back, " (deleted)" removed. Two names are ambiguous in the kernel's
  // text: one that holds a backslash and "012", and one that ends in " (deleted)" by itself.
  // /proc/PID/map_files has the truth.
  std::string path;
  bool deleted = false;
  bool unsupported_io = false;  // VM_IO or VM_PFNMAP: device memory
  // What no room handles, and why, in words ("System V shared memory"); empty: handled. Device
  // memory is named here too.
  std::string unsupported;
  std::string flags;  // VmFlags, as printed
};

// Malformed lines name themselves. Source: fs/proc/task_mmu.c, 5.15 to 6.18. Understands
// /proc/PID/maps as well, whose VMAs then lack flags.
Result<std::vector<VmaLine>> parse_smaps(std::string_view smaps);

}  // namespace ncr
