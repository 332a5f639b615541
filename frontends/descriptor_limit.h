// The limit of open files of our own commands.
#pragma once

#include <sys/resource.h>

// A large tree takes descriptors of ours for every task; the soft limit is only a habit of shells.
inline void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}
