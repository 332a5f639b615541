// restorer: sends a signal to itself with the siginfo of the image; everything is blocked here, so
// it stays pending.
#include "engine/resources/signal_queue/signal_queue.h"
#include "pie/syscall.h"

namespace ncr::signal_queue {

pie::Ret run(const Queue& step) {
  long pid = pie::sys(__NR_getpid).raw();
  if (step.to_process != 0) return pie::sys(__NR_rt_sigqueueinfo, pid, step.number, step.info);
  long tid = pie::sys(__NR_gettid).raw();
  return pie::sys(__NR_rt_tgsigqueueinfo, pid, tid, step.number, step.info);
}

}  // namespace ncr::signal_queue
