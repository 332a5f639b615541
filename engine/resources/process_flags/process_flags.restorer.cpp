// restorer: in place of what the engine left.
#include <linux/prctl.h>

#include "engine/resources/process_flags/process_flags.h"
#include "pie/syscall.h"

namespace ncr::process_flags {
namespace {

constexpr int kSetMemoryMerge = 67;  // PR_SET_MEMORY_MERGE, Linux 6.4

pie::Ret prctl(long option, unsigned long value) {
  return pie::sys(__NR_prctl, option, value, 0, 0, 0);
}

}  // namespace

pie::Ret run(const Set& step) {
  pie::Ret ret = pie::sys(__NR_umask, step.umask);
  if (ret.ok()) ret = prctl(PR_SET_CHILD_SUBREAPER, step.child_subreaper);
  if (ret.ok() && step.memory_merge != 0) ret = prctl(kSetMemoryMerge, 1);
  return ret;
}

pie::Ret run(const SetPersonality& step) { return pie::sys(__NR_personality, step.personality); }

pie::Ret run(const SetDumpable& step) { return prctl(PR_SET_DUMPABLE, step.dumpable); }

}  // namespace ncr::process_flags
