#pragma once

#include <sys/types.h>

namespace ncr {

// A look at the root while it still runs, forgotten at once: what it finds is about to change. What
// is looked at for the first time takes several times as long (directory entries of /proc are made,
// heads of libraries and our own code come into memory), and only once the tree is frozen does that
// time hurt. No descriptor is duplicated: the target must be able to close its own.
void rehearse(pid_t root);

}  // namespace ncr
