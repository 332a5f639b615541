// restorer: sets what differs from what this thread has.
#include <linux/prctl.h>

#include "engine/resources/prctl_flags/prctl_flags.h"
#include "pie/syscall.h"

namespace ncr::prctl_flags {
namespace {

constexpr int kSetIoFlusher = 57;  // PR_SET_IO_FLUSHER, Linux 5.6

pie::Ret prctl(long option, unsigned long a = 0, unsigned long b = 0) {
  return pie::sys(__NR_prctl, option, a, b, 0, 0);
}

// A wish for a control that the image's machine had under its thumb (PR_SPEC_PRCTL), and that is
// different here.
pie::Ret set_speculation(unsigned long which, uint32_t wanted) {
  if ((wanted & PR_SPEC_PRCTL) == 0) return pie::Ret::success();
  pie::Ret current = prctl(PR_GET_SPECULATION_CTRL, which);
  if (!current.ok() || static_cast<uint32_t>(current.raw()) == wanted ||
      (current.raw() & PR_SPEC_PRCTL) == 0)
    return pie::Ret::success();
  return pie::sys(__NR_prctl, PR_SET_SPECULATION_CTRL, which,
                  wanted & ~static_cast<uint32_t>(PR_SPEC_PRCTL), 0, 0);
}

pie::Ret set_tsc(int32_t wanted) {
  int32_t current = 0;
  if (wanted == 0 || !pie::sys(__NR_prctl, PR_GET_TSC, &current, 0, 0, 0).ok() || current == wanted)
    return pie::Ret::success();
  return prctl(PR_SET_TSC, static_cast<unsigned long>(wanted));
}

pie::Ret set_mce_kill(int32_t wanted) {
  pie::Ret current = prctl(PR_MCE_KILL_GET);
  if (!current.ok() || current.raw() == wanted) return pie::Ret::success();
  return prctl(PR_MCE_KILL, PR_MCE_KILL_SET, static_cast<unsigned long>(wanted));
}

}  // namespace

pie::Ret run(const Set& step) {
  const Flags& wanted = step.flags;
  pie::Ret ret = pie::sys(__NR_prctl, PR_SET_NAME, wanted.comm, 0, 0, 0);
  if (!ret.ok()) return ret;
  ret = prctl(PR_GET_TIMERSLACK);
  // 0 would mean the default; a real-time thread has 0 by its policy.
  if (ret.ok() && static_cast<uint64_t>(ret.raw()) != wanted.timer_slack_ns &&
      wanted.timer_slack_ns != 0)
    ret = prctl(PR_SET_TIMERSLACK, wanted.timer_slack_ns);
  if (ret.ok()) ret = set_mce_kill(wanted.mce_kill);
  if (ret.ok()) ret = set_tsc(wanted.tsc);
  if (ret.ok() && wanted.io_flusher != 0) ret = prctl(kSetIoFlusher, 1);
  if (ret.ok()) ret = set_speculation(PR_SPEC_STORE_BYPASS, wanted.speculation_store_bypass);
  if (ret.ok()) ret = set_speculation(PR_SPEC_INDIRECT_BRANCH, wanted.speculation_indirect_branch);
  return ret;
}

pie::Ret run(const SetParentDeathSignal& step) {
  return prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(step.signal));
}

}  // namespace ncr::prctl_flags
