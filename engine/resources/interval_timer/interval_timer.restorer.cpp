// restorer: setitimer(2) with the time that was left.
#include "engine/resources/interval_timer/interval_timer.h"
#include "pie/syscall.h"

namespace ncr::interval_timer {

pie::Ret run(const Arm& step) { return pie::sys(__NR_setitimer, step.which, &step.value, nullptr); }

}  // namespace ncr::interval_timer
