#include "engine/memory/vma_iterator_program.h"

#include <errno.h>

#include "vma_iterator.skeleton.h"

int ncr_load_vma_iterator(void) {
  struct vma_iterator* skeleton = vma_iterator__open();
  if (skeleton == NULL) return -ENOMEM;
  int error = vma_iterator__load(skeleton);
  int program = error < 0 ? error : skeleton->progs.write_vma.prog_fd;
  if (error == 0) skeleton->progs.write_vma.prog_fd = 0;  // the caller's now
  vma_iterator__destroy(skeleton);
  return program;
}
