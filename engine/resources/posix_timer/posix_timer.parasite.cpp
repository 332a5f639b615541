// parasite: timer_gettime(2) and timer_getoverrun(2) of every timer named.
#include "engine/resources/posix_timer/posix_timer.h"
#include "pie/syscall.h"

namespace ncr::posix_timer {

pie::Ret handle(const Get::Request& request, Get::Reply& reply) {
  for (uint32_t i = 0; i < request.count && i < kMaxTimers; i++) {
    pie::Ret ret = pie::sys(__NR_timer_gettime, request.ids[i], &reply.timers[i].left);
    if (!ret.ok()) return ret;
    ret = pie::sys(__NR_timer_getoverrun, request.ids[i]);
    if (!ret.ok()) return ret;
    reply.timers[i].overrun = ret.raw();
  }
  return pie::Ret::success();
}

}  // namespace ncr::posix_timer
