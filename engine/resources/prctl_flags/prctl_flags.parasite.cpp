// parasite: what this thread has set about itself. What a kernel or an architecture does not have
// stays 0.
#include <linux/prctl.h>

#include "engine/resources/prctl_flags/prctl_flags.h"
#include "pie/syscall.h"

namespace ncr::prctl_flags {
namespace {

constexpr int kGetIoFlusher = 58;  // PR_GET_IO_FLUSHER, Linux 5.6

// For the options that answer with their value.
uint32_t value_of(long option, unsigned long argument = 0) {
  pie::Ret ret = pie::sys(__NR_prctl, option, argument, 0, 0, 0);
  return ret.ok() ? static_cast<uint32_t>(ret.raw()) : 0;
}

}  // namespace

pie::Ret handle(const Get::Request&, Get::Reply& reply) {
  Flags& flags = reply.flags;
  flags = {};
  pie::Ret ret = pie::sys(__NR_prctl, PR_GET_NAME, flags.comm, 0, 0, 0);
  if (!ret.ok()) return ret;
  ret = pie::sys(__NR_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0);
  if (!ret.ok()) return ret;
  flags.timer_slack_ns = static_cast<uint64_t>(ret.raw());
  ret = pie::sys(__NR_prctl, PR_GET_PDEATHSIG, &flags.parent_death_signal, 0, 0, 0);
  if (!ret.ok()) return ret;
  flags.mce_kill = static_cast<int32_t>(value_of(PR_MCE_KILL_GET));
  if (!pie::sys(__NR_prctl, PR_GET_TSC, &flags.tsc, 0, 0, 0).ok()) flags.tsc = 0;
  flags.io_flusher = value_of(kGetIoFlusher);
  flags.speculation_store_bypass = value_of(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS);
  flags.speculation_indirect_branch = value_of(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH);
  return pie::Ret::success();
}

}  // namespace ncr::prctl_flags
