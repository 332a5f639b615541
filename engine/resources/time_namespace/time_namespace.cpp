// Time namespace (struct time_namespace): what is added to CLOCK_MONOTONIC and CLOCK_BOOTTIME.
// Recorded is what the clocks said, so that they go on from there on any machine; the offsets are
// worked out and written when the namespace is made. dump runs in the engine, which is in another
// one; unshare_from() in the root task.
#include <fcntl.h>
#include <sched.h>

#include <cstdio>
#include <ctime>

#include "engine/base/procfs.h"
#include "engine/resources/room.h"
#include "engine/resources/time_namespace/offsets.h"

namespace ncr::time_namespace {
namespace {

Result<int64_t> now_ns(clockid_t clock) {
  timespec now{};
  TRY(SYSCALL(::clock_gettime(clock, &now), "clock_gettime"));
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

Result<> dump(const NamespaceProbe& probe, schema::Namespace* record, Blockers&) {
  std::string theirs = TRY(sys::read_file_at(probe.member.proc, "timens_offsets"));
  std::string ours = TRY(sys::read_file("/proc/self/timens_offsets"));
  Offsets inside = TRY(parse_offsets(theirs));
  Offsets own = TRY(parse_offsets(ours));
  int64_t monotonic = TRY(now_ns(CLOCK_MONOTONIC));
  int64_t boottime = TRY(now_ns(CLOCK_BOOTTIME));
  record->mutable_time()->set_monotonic_ns(monotonic + inside.monotonic_ns - own.monotonic_ns);
  record->mutable_time()->set_boottime_ns(boottime + inside.boottime_ns - own.boottime_ns);
  return {};
}

// timens_offsets takes seconds and a remainder that is never negative (time_namespaces(7)).
std::string offset_line(const char* clock, int64_t ns) {
  int64_t seconds = ns / 1'000'000'000;
  int64_t rest = ns % 1'000'000'000;
  if (rest < 0) {
    seconds--;
    rest += 1'000'000'000;
  }
  return strf("%s %lld %lld\n", clock, static_cast<long long>(seconds),
              static_cast<long long>(rest));
}

}  // namespace

Result<Offsets> parse_offsets(const std::string& text) {
  Offsets offsets;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    char clock[16];
    long long seconds = 0, rest = 0;
    if (std::sscanf(line.c_str(), "%15s %lld %lld", clock, &seconds, &rest) != 3)
      return Error::malformed(strf("timens_offsets: strange line \"%s\"", line.c_str()));
    int64_t* offset = std::string(clock) == "monotonic"  ? &offsets.monotonic_ns
                      : std::string(clock) == "boottime" ? &offsets.boottime_ns
                                                         : nullptr;
    if (offset != nullptr) *offset = seconds * 1'000'000'000 + rest;
  }
  return offsets;
}

// A process is in the time namespace that it was born in; only a single thread may change that, and
// only after the offsets were written (time_namespaces(7)). They count from the clocks of the
// machine, ours may be off by offsets of their own.
Result<> unshare_from(const schema::TimeNamespace& clocks) {
  const std::string text = TRY(procfs::read_file("self/timens_offsets"));
  const Offsets own = TRY(parse_offsets(text));
  TRY(SYSCALL(::unshare(CLONE_NEWTIME), "unshare CLONE_NEWTIME"));
  const int64_t monotonic = TRY(now_ns(CLOCK_MONOTONIC));
  const int64_t boottime = TRY(now_ns(CLOCK_BOOTTIME));
  const std::string offsets =
      offset_line("monotonic", clocks.monotonic_ns() - monotonic + own.monotonic_ns) +
      offset_line("boottime", clocks.boottime_ns() - boottime + own.boottime_ns);
  Fd file = TRY(procfs::open("self/timens_offsets", O_WRONLY));
  return sys::write_all(file, offsets.data(), offsets.size());
}

extern const NamespaceRoom kRoom = {
    .name = "time", .kind = schema::Namespace::kTime, .clone_flag = CLONE_NEWTIME, .dump = dump};

}  // namespace ncr::time_namespace
