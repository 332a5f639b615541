// restorer: timer_create(2) under a given number, and timer_settime(2). Runs in the leader when
// every thread is there, for a timer may signal one of them.
#include "engine/resources/posix_timer/posix_timer.h"
#include "pie/syscall.h"

namespace ncr::posix_timer {
namespace {

constexpr int kTimerCreateRestoreIds = 77;  // PR_TIMER_CREATE_RESTORE_IDS, Linux 6.15

struct KernelSigevent {
  uint64_t value;
  int32_t signal;
  int32_t notify;
  int32_t thread;
  int32_t pad[11];
};
static_assert(sizeof(KernelSigevent) == 64);

pie::Ret create(const Create& step, const KernelSigevent& event) {
  int32_t id = step.id;
  if (pie::sys(__NR_prctl, kTimerCreateRestoreIds, 1, 0, 0, 0).ok()) {
    pie::Ret ret = pie::sys(__NR_timer_create, step.clock, &event, &id);
    (void)pie::sys(__NR_prctl, kTimerCreateRestoreIds, 0, 0, 0, 0);
    return ret.ok() && id != step.id ? pie::Ret(-16 /* EBUSY */) : ret;
  }
  // Older kernels count upwards from 0 in a new process and take no wish: what comes before is
  // created and deleted again.
  for (;;) {
    pie::Ret ret = pie::sys(__NR_timer_create, step.clock, &event, &id);
    if (!ret.ok() || id == step.id) return ret;
    (void)pie::sys(__NR_timer_delete, id);
    if (id > step.id) return pie::Ret(-16 /* EBUSY */);
  }
}

}  // namespace

pie::Ret run(const Create& step) {
  KernelSigevent event{};
  event.value = step.user_value;
  event.signal = step.signal;
  event.notify = step.notify;
  event.thread = step.thread;
  pie::Ret ret = create(step, event);
  if (!ret.ok() || (step.left.value_s == 0 && step.left.value_ns == 0)) return ret;
  return pie::sys(__NR_timer_settime, step.id, 0, &step.left, nullptr);
}

}  // namespace ncr::posix_timer
