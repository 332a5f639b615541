// One VMA of a frozen task, as the kernel tells it: in /proc/PID/smaps (vma_table.h) or to a BPF
// iterator (vma_records.h).
#pragma once

#include <string>
#include <string_view>

#include "memory.pb.h"

namespace ncr {

// Before files and shared memory objects are given ids.
struct VmaLine {
  schema::Vma vma;  // start, end, prot, kind, heap, advice ... filled in; ids are not
  // dev_t and inode number tell files apart; stat(2) may say something else (overlayfs, btrfs).
  uint64_t device = 0;
  uint64_t inode = 0;
  // Newlines put back, " (deleted)" removed. Two names are ambiguous in the kernel's text: one that
  // holds a backslash and "012", and one that ends in " (deleted)" by itself.
  // /proc/PID/map_files has the truth.
  std::string path;
  bool perhaps_of_a_layer = false;  // of an overlayfs, and the path is the one within the layer
  bool deleted = false;
  bool unsupported_io = false;  // VM_IO or VM_PFNMAP: device memory
  // What no room handles, and why, in words ("System V shared memory"); empty: handled. Device
  // memory is named here too.
  std::string unsupported;
  bool may_write = false;  // VM_MAYWRITE: mprotect could make it writable
};

enum class Newlines { kEscaped, kPlain };

// Kind, name and path of a VMA whose other fields are set, by what the kernel prints behind the
// inode.
void classify_vma(std::string_view printed, Newlines newlines, VmaLine* line);

// After classify_vma(). `mnemonics`: as in VmFlags, "rd wr mr mw me ac".
void apply_vm_flags(std::string_view mnemonics, VmaLine* line);

}  // namespace ncr
