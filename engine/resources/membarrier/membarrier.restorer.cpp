// restorer: one registration per bit.
#include "engine/resources/membarrier/membarrier.h"
#include "pie/syscall.h"

namespace ncr::membarrier {

pie::Ret run(const Register& step) {
  for (uint32_t bit = 0; bit < 31; bit++) {
    if ((step.registrations >> bit & 1) == 0) continue;
    pie::Ret ret = pie::sys(__NR_membarrier, 1 << bit, 0, 0);
    if (!ret.ok()) return ret;
  }
  return pie::Ret::success();
}

}  // namespace ncr::membarrier
