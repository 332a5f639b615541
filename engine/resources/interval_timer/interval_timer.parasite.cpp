// parasite: getitimer(2), three times.
#include "engine/resources/interval_timer/interval_timer.h"
#include "pie/syscall.h"

namespace ncr::interval_timer {

pie::Ret handle(const Get::Request&, Get::Reply& reply) {
  for (uint32_t which = 0; which < kTimers; which++) {
    pie::Ret ret = pie::sys(__NR_getitimer, which, &reply.timers[which]);
    if (!ret.ok()) return ret;
  }
  return pie::Ret::success();
}

}  // namespace ncr::interval_timer
