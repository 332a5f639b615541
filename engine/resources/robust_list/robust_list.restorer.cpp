// restorer: what the kernel shall do to the thread's memory at its end.
#include "engine/resources/robust_list/robust_list.h"
#include "pie/syscall.h"

namespace ncr::robust_list {

pie::Ret run(const Set& step) {
  pie::Ret ret = pie::sys(__NR_set_tid_address, step.clear_child_tid);
  if (!ret.ok()) return ret;
  return pie::sys(__NR_set_robust_list, step.head, step.size);
}

}  // namespace ncr::robust_list
