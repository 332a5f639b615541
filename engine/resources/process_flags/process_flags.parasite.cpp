// parasite: what this process has set about itself. What a kernel does not have stays 0.
#include <linux/prctl.h>

#include "engine/resources/process_flags/process_flags.h"
#include "pie/syscall.h"

namespace ncr::process_flags {
namespace {

constexpr int kGetMdwe = 66;         // PR_GET_MDWE, Linux 6.3
constexpr int kGetMemoryMerge = 68;  // PR_GET_MEMORY_MERGE, Linux 6.4
constexpr unsigned long kAsk = 0xffffffff;

uint32_t value_of(long option) {
  pie::Ret ret = pie::sys(__NR_prctl, option, 0, 0, 0, 0);
  return ret.ok() ? static_cast<uint32_t>(ret.raw()) : 0;
}

}  // namespace

pie::Ret handle(const Get::Request&, Get::Reply& reply) {
  reply = {};
  reply.personality = static_cast<uint32_t>(pie::sys(__NR_personality, kAsk).raw());
  pie::Ret ret = pie::sys(__NR_prctl, PR_GET_CHILD_SUBREAPER, &reply.child_subreaper, 0, 0, 0);
  if (!ret.ok()) return ret;
  reply.dumpable = static_cast<int32_t>(value_of(PR_GET_DUMPABLE));
  reply.thp_disabled = value_of(PR_GET_THP_DISABLE);
  reply.mdwe = value_of(kGetMdwe);
  reply.memory_merge = value_of(kGetMemoryMerge);
  return pie::Ret::success();
}

}  // namespace ncr::process_flags
