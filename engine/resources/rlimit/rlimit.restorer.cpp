// restorer: sets each limit that differs from what this process inherited.
#include "engine/resources/rlimit/rlimit.h"
#include "pie/syscall.h"

namespace ncr::rlimit {

pie::Ret run(const Set& step) {
  for (uint32_t resource = 0; resource < kResources; resource++) {
    if ((step.wanted >> resource & 1) == 0) continue;
    const Limit& wanted = step.limits[resource];
    Limit current{};
    pie::Ret ret = pie::sys(__NR_prlimit64, 0, resource, nullptr, &current);
    if (!ret.ok()) return ret;
    if (current.soft == wanted.soft && current.hard == wanted.hard) continue;
    ret = pie::sys(__NR_prlimit64, 0, resource, &wanted, nullptr);
    if (!ret.ok()) return ret;
  }
  return pie::Ret::success();
}

}  // namespace ncr::rlimit
