// A timerfd is an hrtimer or alarm on one clock, with the expirations nobody has read. fdinfo shows
// clock, ticks and settime flags. A periodic timer that expired stands still until somebody looks;
// timerfd_gettime() makes the kernel count what it missed, so it is asked first and fdinfo is read
// again. The remaining time is what is kept, except for absolute times on a wall clock, which mean
// a moment in the world and pass also while nobody runs. dump runs in the engine, open and connect
// in the child.
#include "engine/resources/timerfd/timerfd.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>

#include "engine/resources/fdinfo.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/in_flight.h"
#include "engine/resources/status_flags.h"

namespace ncr::timerfd {
namespace {

constexpr unsigned long kSetTicks = _IOW('T', 0, uint64_t);  // TFD_IOC_SET_TICKS
constexpr uint64_t kSecond = 1'000'000'000;

uint64_t nanoseconds(const timespec& time) {
  return static_cast<uint64_t>(time.tv_sec) * kSecond + static_cast<uint64_t>(time.tv_nsec);
}
timespec time_of(uint64_t ns) {
  return {static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)};
}

bool recognises(const FdProbe& probe) { return probe.link == "anon_inode:[timerfd]"; }

bool is_wall_clock(int clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM; }

Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  itimerspec left{};
  TRY(SYSCALL(::timerfd_gettime(probe.local.get(), &left), "timerfd_gettime"));
  std::string fdinfo = TRY(sys::read_file(strf("/proc/self/fdinfo/%d", probe.local.get()).c_str()));
  TimerfdInfo info = TRY(parse_timerfd(fdinfo));
  bool absolute = (info.settime_flags & TFD_TIMER_ABSTIME) != 0 && is_wall_clock(info.clock);
  uint64_t value = nanoseconds(left.it_value);
  if (absolute && value != 0) {
    timespec now{};
    TRY(SYSCALL(::clock_gettime(CLOCK_REALTIME, &now), "clock_gettime"));
    value += nanoseconds(now);
  }
  schema::Timerfd* timer = record->mutable_timerfd();
  timer->set_clock(info.clock);
  timer->set_ticks(info.ticks);
  // The remaining time is relative, whatever the program said once.
  timer->set_settime_flags(absolute ? static_cast<uint32_t>(info.settime_flags) : 0);
  timer->set_value_ns(value);
  timer->set_interval_ns(nanoseconds(left.it_interval));
  return {};
}

Result<Fd> open(FileRestorer&, const schema::OpenFile& record) {
  Fd fd(TRY(SYSCALL(::timerfd_create(record.timerfd().clock(), TFD_CLOEXEC),
                    "timerfd_create, clock %d", record.timerfd().clock())));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

Result<> connect(FileRestorer& files, const schema::OpenFile& record, const Fd& fd) {
  if (has_number(files.image(), record.id())) return {};
  const schema::Timerfd& timer = record.timerfd();
  itimerspec value{time_of(timer.interval_ns()), time_of(timer.value_ns())};
  TRY(SYSCALL(::timerfd_settime(fd.get(), static_cast<int>(timer.settime_flags()), &value, nullptr),
              "timerfd_settime"));
  uint64_t ticks = timer.ticks();
  if (ticks != 0) TRY(SYSCALL(::ioctl(fd.get(), kSetTicks, &ticks), "TFD_IOC_SET_TICKS"));
  return {};
}

Result<> late(const schema::OpenFile& record, FdNumber number, StepList& steps) {
  const schema::Timerfd& timer = record.timerfd();
  if (timer.value_ns() == 0 && timer.ticks() == 0) return {};
  ArmTimerfd step{};
  step.fd = raw(number);
  step.settime_flags = static_cast<int32_t>(timer.settime_flags());
  step.value_ns = timer.value_ns();
  step.interval_ns = timer.interval_ns();
  step.ticks = timer.ticks();
  steps.add(wire::Stage::kLate, step);
  return {};
}

}  // namespace

extern const FdRoom kRoom = {.name = "timerfd",
                             .kind = schema::OpenFile::kTimerfd,
                             .recognises = recognises,
                             .dump = dump,
                             .open = open,
                             .connect = connect,
                             .late = late};

}  // namespace ncr::timerfd
