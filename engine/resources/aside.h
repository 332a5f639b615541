// A few system calls done in a process of their own, for what the kernel takes from the caller's
// identity: credentials that a unix socket's peer will see, the root directory that a name is
// looked up in. The process shares our descriptors and goes on to its end if we are killed
// meanwhile.
#pragma once

#include <sys/socket.h>

#include <functional>

#include "engine/base/sys.h"

namespace ncr {

struct Aside {
  ucred who{
      0, 0,
      0};  // pid 0: ours; a pid that is taken is not a failure, the call is then made under another
  bool as_who = false;              // whether `who` counts at all
  int root = -1;                    // directory that becomes root and working directory, -1: ours
  const char* directory = nullptr;  // working directory, null: ours
  bool outlive_us = false;          // the calls must come to their end even if we are killed
};

// Runs `calls` and gives back what it returned: 0 or an errno. It must not allocate memory nor take
// locks. In place if `where` asks for nothing that differs from us. Memory may be a copy: results
// go through shared mappings or descriptors.
Result<int> run_aside(const Aside& where, const std::function<int()>& calls);

}  // namespace ncr
