#include "engine/resources/memory_flags/memory_flags.h"

#include <linux/prctl.h>

#include "pie/syscall.h"

namespace ncr::memory_flags {
namespace {

constexpr int kSetMdwe = 65;  // PR_SET_MDWE, Linux 6.3

}  // namespace

pie::Ret run(const SetMemoryFlags& step);

pie::Ret run(const SetMemoryFlags& step) {
  pie::Ret ret = pie::sys(__NR_prctl, PR_SET_THP_DISABLE, step.thp_disabled, 0, 0, 0);
  if (!ret.ok() || step.deny_exec == 0) return ret;
  return pie::sys(__NR_prctl, kSetMdwe, step.deny_exec, 0, 0, 0);
}

}  // namespace ncr::memory_flags
