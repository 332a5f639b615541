// restorer: the filters of a thread, oldest first, while the coordinator has them suspended. They
// are installed before the credentials are given up, for a filter asks for CAP_SYS_ADMIN or for
// no_new_privs, and the thread may have had neither in the end.
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>

#include "engine/resources/seccomp/seccomp.h"
#include "pie/syscall.h"

namespace ncr::seccomp {

pie::Ret run(const Install& step) {
  constexpr int kNoSuchProcess = 3;
  sock_fprog program{};
  program.len = static_cast<unsigned short>(step.instructions);
  program.filter = reinterpret_cast<sock_filter*>(const_cast<Install*>(&step + 1));
  pie::Ret ret = pie::sys(__NR_seccomp, SECCOMP_SET_MODE_FILTER, step.flags, &program);
  // SECCOMP_FILTER_FLAG_TSYNC: the number of a thread that could not follow.
  return ret.ok() && ret.raw() > 0 ? pie::Ret(-kNoSuchProcess) : ret;
}

pie::Ret run(const EnterStrictMode&) {
  return pie::sys(__NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0);
}

}  // namespace ncr::seccomp
