// parasite: all sixteen limits.
#include "engine/resources/rlimit/rlimit.h"
#include "pie/syscall.h"

namespace ncr::rlimit {

pie::Ret handle(const Get::Request&, Get::Reply& reply) {
  for (uint32_t resource = 0; resource < kResources; resource++) {
    pie::Ret ret = pie::sys(__NR_prlimit64, 0, resource, nullptr, &reply.limits[resource]);
    if (!ret.ok()) return ret;
  }
  return pie::Ret::success();
}

}  // namespace ncr::rlimit
