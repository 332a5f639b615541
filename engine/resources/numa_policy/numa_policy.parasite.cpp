// parasite: the policy of this thread; only itself can ask.
#include <asm-generic/errno-base.h>
#include <asm-generic/errno.h>

#include "engine/resources/numa_policy/numa_policy.h"
#include "pie/syscall.h"

namespace ncr::numa_policy {

pie::Ret handle(const Get::Request&, Get::Reply& reply) {
  pie::Ret ret = pie::sys(__NR_get_mempolicy, &reply.mode, reply.nodes, kMostNodes + 1, 0, 0);
  if (ret.ok() || ret.raw() != -ENOSYS) return ret;
  reply.mode = 0;
  return pie::Ret::success();
}

}  // namespace ncr::numa_policy
