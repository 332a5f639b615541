// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
//
// Writes the VMAs of a task, a struct ncr_vma_record and a name each. A BPF iterator of the kind
// task_vma (Linux 5.12; of one task: 6.1) runs in the kernel for each VMA of the task, with its
// lock held. The kernel lends what this uses (bpf_seq_write, reading its structures) to programs
// only that are under the GPL as well.
//
// The structures below name only the fields that are read; where they really are, the kernel says
// at the load (BTF). Sources: include/linux/mm_types.h, fs/proc/task_mmu.c, 6.1 to 6.18.
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "engine/memory/vma_record.h"

#define KERNELS __attribute__((preserve_access_index))

struct seq_file {
} KERNELS;
struct bpf_iter_meta {
  struct seq_file* seq;
} KERNELS;
struct super_block {
  __u32 s_dev;
} KERNELS;
struct inode {
  struct super_block* i_sb;
  unsigned long i_ino;
} KERNELS;
struct path {
} KERNELS;
struct file {
  struct path f_path;
  struct inode* f_inode;
} KERNELS;
struct mm_struct {
  unsigned long start_brk, brk;
} KERNELS;
struct anon_vma_name {
  char name[1];
} KERNELS;
struct vm_special_mapping {
  const char* name;
} KERNELS;
struct vm_area_struct {
  unsigned long vm_start, vm_end, vm_flags, vm_pgoff;
  struct file* vm_file;
  struct mm_struct* vm_mm;
  const void* vm_ops;
  void* vm_private_data;
  struct anon_vma_name* anon_name;
  long shared;
} KERNELS;
struct bpf_iter__task_vma {
  struct bpf_iter_meta* meta;
  void* task;
  struct vm_area_struct* vma;
};

#define LONGEST_NAME 320  // the stack has 512 bytes

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// Shared memory has names of its own since 6.2; before, the field overlapped another one.
static struct anon_vma_name* given_name(struct vm_area_struct* vma) {
  if (!bpf_core_field_exists(vma->anon_name)) return 0;
  if (vma->vm_file && bpf_core_field_offset(vma->anon_name) == bpf_core_field_offset(vma->shared))
    return 0;
  return vma->anon_name;
}

// The bytes in `name`; negative: there is one that cannot be had.
static long name_vma(struct vm_area_struct* vma, struct ncr_vma_record* record, char* name) {
  struct anon_vma_name* given = given_name(vma);
  long size = 0;
  if (given) {
    record->traits |= vma->vm_file ? NCR_VMA_NAMED_FILE : NCR_VMA_NAMED;
    size = bpf_probe_read_kernel_str(name, LONGEST_NAME, given->name);
  } else if (vma->vm_file) {
    record->traits |= NCR_VMA_FILE;
    size = bpf_d_path(&vma->vm_file->f_path, name, LONGEST_NAME);
  } else if (vma->vm_ops) {
    struct vm_special_mapping* mapping = vma->vm_private_data;
    record->traits |= NCR_VMA_KERNELS;
    size = bpf_probe_read_kernel_str(name, LONGEST_NAME, BPF_CORE_READ(mapping, name));
  } else {
    return 0;
  }
  // Cut names cannot be told from those that just fit.
  return size > 0 && size < LONGEST_NAME ? size - 1 : -1;
}

SEC("iter/task_vma")
int write_vma(struct bpf_iter__task_vma* context) {
  struct vm_area_struct* vma = context->vma;
  if (!vma) return 0;
  struct ncr_vma_record record = {};
  char name[LONGEST_NAME] = {};
  record.start = vma->vm_start;
  record.end = vma->vm_end;
  record.flags = vma->vm_flags;
  record.offset = vma->vm_pgoff;
  struct file* file = vma->vm_file;
  if (file) {
    record.device = file->f_inode->i_sb->s_dev;
    record.inode = file->f_inode->i_ino;
  }
  struct mm_struct* mm = vma->vm_mm;
  if (!file && vma->vm_start < mm->brk && vma->vm_end > mm->start_brk)
    record.traits |= NCR_VMA_HEAP;
  long size = name_vma(vma, &record, name);
  if (size < 0 || size >= LONGEST_NAME) {
    record.traits |= NCR_VMA_UNCLEAR;
    size = 0;
  }
  record.name_size = size;
  bpf_seq_write(context->meta->seq, &record, sizeof record);
  if (size > 0 && size < LONGEST_NAME) bpf_seq_write(context->meta->seq, name, size);
  return 0;
}
