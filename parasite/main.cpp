#include "pie/syscall.h"

extern "C" [[noreturn]] void parasite_main(void*) {
  for (;;) (void)pie::sys(__NR_pause);
}
