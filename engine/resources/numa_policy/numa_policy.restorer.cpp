// restorer: from which nodes the thread's new pages come.
#include <asm-generic/errno-base.h>
#include <asm-generic/errno.h>

#include "engine/resources/numa_policy/numa_policy.h"
#include "pie/syscall.h"

namespace ncr::numa_policy {

// A machine without these nodes, or a cpuset without them, has no place for such a policy.
pie::Ret run(const Set& step) {
  pie::Ret ret = pie::sys(__NR_set_mempolicy, step.mode, step.nodes, kMostNodes + 1);
  if (ret.raw() == -EINVAL || ret.raw() == -ENOSYS) return pie::Ret::success();
  return ret;
}

}  // namespace ncr::numa_policy
