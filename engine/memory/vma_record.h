// One VMA as vma_iterator.bpf.c writes it. Plain C: compiled for BPF too.
#pragma once

#include <linux/types.h>

struct ncr_vma_record {
  __u64 start;
  __u64 end;
  __u64 flags;   // vm_flags
  __u64 offset;  // pages
  __u64 inode;
  __u32 device;  // s_dev: 12 bits major, 20 bits minor
  __u16 traits;  // NCR_VMA_*
  __u16 name_size;
  // name_size bytes follow, not terminated. A file of an overlayfs appears as that of the layer
  // which has its content: inode, device and path are the layer's.
};

enum {
  NCR_VMA_FILE = 1 << 0,        // the name is a path
  NCR_VMA_KERNELS = 1 << 1,     // the name is that of a special mapping
  NCR_VMA_NAMED = 1 << 2,       // the name was given with PR_SET_VMA_ANON_NAME; not with FILE
  NCR_VMA_NAMED_FILE = 1 << 3,  // so was that of shared memory; instead of FILE
  NCR_VMA_HEAP = 1 << 4,        // the kernel would print [heap]; may have a given name too
  NCR_VMA_UNCLEAR = 1 << 5,     // only smaps can tell what this is
};
