// restorer: arms a timerfd in the late stage, so that time spent restoring does not count as time
// elapsed. Arming clears the unread expirations, so they come after.
#include <linux/time_types.h>
#include <linux/timerfd.h>

#include "engine/resources/timerfd/timerfd.h"
#include "pie/syscall.h"

namespace ncr::timerfd {

pie::Ret run(const ArmTimerfd& step) {
  constexpr uint64_t kSecond = 1'000'000'000;
  __kernel_itimerspec value;
  value.it_value = {static_cast<__kernel_time64_t>(step.value_ns / kSecond),
                    static_cast<long long>(step.value_ns % kSecond)};
  value.it_interval = {static_cast<__kernel_time64_t>(step.interval_ns / kSecond),
                       static_cast<long long>(step.interval_ns % kSecond)};
  pie::Ret ret = pie::sys(__NR_timerfd_settime, step.fd, step.settime_flags, &value, nullptr);
  if (!ret.ok() || step.ticks == 0) return ret;
  return pie::sys(__NR_ioctl, step.fd, TFD_IOC_SET_TICKS, &step.ticks);
}

}  // namespace ncr::timerfd
