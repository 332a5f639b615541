// parasite: rt_sigaction(2) for every signal that is asked for.
#include "engine/resources/signal_action/signal_action.h"
#include "pie/syscall.h"

namespace ncr::signal_action {

pie::Ret handle(const Get::Request& request, Get::Reply& reply) {
  for (uint32_t i = 0; i < kSignals; i++) {
    reply.actions[i] = {};
    if ((request.wanted >> i & 1) == 0) continue;
    pie::Ret ret = pie::sys(__NR_rt_sigaction, i + 1, nullptr, &reply.actions[i], sizeof(uint64_t));
    if (!ret.ok()) return ret;
  }
  return pie::Ret::success();
}

}  // namespace ncr::signal_action
