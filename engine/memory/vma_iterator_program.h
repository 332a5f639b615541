// The compiled vma_iterator.bpf.c, into the kernel. In C, as the loader that bpftool writes is.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

// A descriptor (close-on-exec) of the program, or -errno: EPERM without CAP_BPF and CAP_PERFMON,
// others where the kernel lacks what it uses.
int ncr_load_vma_iterator(void);

#ifdef __cplusplus
}
#endif
