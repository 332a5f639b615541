// restorer: registers the thread's rseq area; its memory must be in place, the kernel writes into
// it.
#include "engine/resources/rseq/rseq.h"
#include "pie/syscall.h"

namespace ncr::rseq {

pie::Ret run(const Register& step) {
  return pie::sys(__NR_rseq, step.address, step.size, 0, step.signature);
}

}  // namespace ncr::rseq
