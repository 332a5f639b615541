// restorer: sets what differs from what this thread has, so that nothing needs a privilege that is
// not needed.
#include "engine/resources/scheduling/scheduling.h"
#include "pie/memory.h"
#include "pie/syscall.h"

namespace ncr::scheduling {
namespace {

constexpr uint32_t kDeadline = 6;  // SCHED_DEADLINE
constexpr int kIoprioWhoProcess = 1;

pie::Ret set_affinity(const Set& step) {
  const auto* wanted = reinterpret_cast<const unsigned char*>(&step + 1);
  unsigned char current[kMaxAffinity];
  pie::Ret got = pie::sys(__NR_sched_getaffinity, 0, sizeof current, current);
  if (!got.ok()) return got;
  if (static_cast<uint32_t>(got.raw()) == step.affinity_size &&
      memcmp(current, wanted, step.affinity_size) == 0)
    return pie::Ret::success();
  return pie::sys(__NR_sched_setaffinity, 0, step.affinity_size, wanted);
}

pie::Ret set_attributes(const Set& step) {
  KernelSchedAttr wanted = step.attributes;
  KernelSchedAttr current{};
  pie::Ret ret = pie::sys(__NR_sched_getattr, 0, &current, sizeof current, 0);
  if (!ret.ok()) return ret;
  current.size = wanted.size;
  if (memcmp(&current, &wanted, sizeof wanted) == 0) return pie::Ret::success();
  // The default slice of an ordinary thread must not become one it asked for.
  if (wanted.policy != kDeadline && wanted.runtime == current.runtime) wanted.runtime = 0;
  return pie::sys(__NR_sched_setattr, 0, &wanted, 0);
}

// Without a class it was never set, whatever level the kernel shows.
pie::Ret set_io_priority(long wanted) {
  constexpr int kClassShift = 13;
  if (wanted >> kClassShift == 0) wanted = 0;
  pie::Ret current = pie::sys(__NR_ioprio_get, kIoprioWhoProcess, 0);
  if (!current.ok() || current.raw() == wanted ||
      (wanted == 0 && current.raw() >> kClassShift == 0))
    return pie::Ret::success();
  return pie::sys(__NR_ioprio_set, kIoprioWhoProcess, 0, wanted);
}

}  // namespace

pie::Ret run(const Set& step) {
  pie::Ret ret = step.affinity_size == 0 ? pie::Ret::success() : set_affinity(step);
  if (ret.ok()) ret = set_attributes(step);
  if (!ret.ok()) return ret;
  return set_io_priority(step.io_priority);
}

}  // namespace ncr::scheduling
