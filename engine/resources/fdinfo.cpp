// The kernel prints what a descriptor is in /proc/PID/fdinfo/N: three lines for all (pos, flags,
// mnt_id), then lines of the object's own show_fdinfo() and of its file locks. New lines appear
// with new kernels, so unknown ones are passed over. Pure; the engine reads the text.
#include "engine/resources/fdinfo.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <cinttypes>
#include <cstdio>

namespace ncr {
namespace {

Error unexpected(const std::string& line) {
  return Error::malformed(strf("fdinfo: unexpected line \"%s\"", line.c_str()));
}

// The lines that begin with `key`, as C strings for sscanf.
std::vector<std::string> lines_of(std::string_view text, std::string_view key) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.starts_with(key)) lines.emplace_back(line);
  }
  return lines;
}

template <class T>
Result<> scan_one(std::string_view text, std::string_view key, const char* format, T* value) {
  std::vector<std::string> lines = lines_of(text, key);
  if (lines.empty())
    return Error::malformed(
        strf("fdinfo: no line \"%.*s\"", static_cast<int>(key.size()), key.data()));
  if (std::sscanf(lines.front().c_str() + key.size(), format, value) != 1)
    return unexpected(lines.front());
  return {};
}

std::string from_hex(const char* hex) {
  std::string bytes;
  unsigned byte = 0;
  for (; std::sscanf(hex, "%2x", &byte) == 1; hex += 2) {
    bytes.push_back(static_cast<char>(byte));
    if (hex[1] == 0) break;
  }
  return bytes;
}

// Nothing if the line has none.
Result<> scan_handle(const std::string& line, WatchedFile* file) {
  const size_t at = line.find("fhandle-bytes:");
  if (at == std::string::npos) return {};
  unsigned size = 0;
  unsigned type = 0;
  int hex = 0;
  if (std::sscanf(line.c_str() + at, "fhandle-bytes:%x fhandle-type:%x f_handle:%n", &size, &type,
                  &hex) != 2 ||
      hex == 0)
    return unexpected(line);
  file->handle = from_hex(line.c_str() + at + hex);
  if (file->handle.size() != size) return unexpected(line);
  file->handle_type = static_cast<int>(type);
  return {};
}

}  // namespace

Result<FdInfo> parse_fdinfo(std::string_view text) {
  FdInfo info;
  int64_t position = 0;
  uint32_t flags = 0;
  TRY(scan_one(text, "pos:", "%" SCNd64, &position));
  TRY(scan_one(text, "flags:", "%" SCNo32, &flags));
  TRY(scan_one(text, "mnt_id:", "%d", &info.mount_id));
  info.position = static_cast<uint64_t>(position);
  info.close_on_exec = (flags & O_CLOEXEC) != 0;
  info.flags = flags & ~static_cast<uint32_t>(O_CLOEXEC);
  return info;
}

Result<EventfdInfo> parse_eventfd(std::string_view text) {
  EventfdInfo info;
  TRY(scan_one(text, "eventfd-count:", "%" SCNx64, &info.count));
  int semaphore = 0;
  if (scan_one(text, "eventfd-semaphore:", "%d", &semaphore).ok()) info.semaphore = semaphore != 0;
  return info;
}

Result<uint64_t> parse_signalfd_mask(std::string_view text) {
  uint64_t mask = 0;
  TRY(scan_one(text, "sigmask:", "%" SCNx64, &mask));
  return mask;
}

Result<TimerfdInfo> parse_timerfd(std::string_view text) {
  TimerfdInfo info;
  unsigned flags = 0;
  TRY(scan_one(text, "clockid:", "%d", &info.clock));
  TRY(scan_one(text, "ticks:", "%" SCNu64, &info.ticks));
  TRY(scan_one(text, "settime flags:", "%o", &flags));
  info.settime_flags = static_cast<int>(flags);
  return info;
}

Result<std::vector<EpollTarget>> parse_epoll(std::string_view text) {
  std::vector<EpollTarget> targets;
  for (const std::string& line : lines_of(text, "tfd:")) {
    EpollTarget target;
    if (std::sscanf(line.c_str(),
                    "tfd: %d events: %x data: %" SCNx64 " pos:%*d ino:%" SCNx64 " sdev:%" SCNx64,
                    &target.number, &target.events, &target.data, &target.inode,
                    &target.device) != 5)
      return unexpected(line);
    targets.push_back(target);
  }
  return targets;
}

Result<std::vector<InotifyWatch>> parse_inotify(std::string_view text) {
  std::vector<InotifyWatch> watches;
  for (const std::string& line : lines_of(text, "inotify ")) {
    InotifyWatch watch;
    unsigned descriptor = 0;
    if (std::sscanf(line.c_str(), "inotify wd:%x ino:%" SCNx64 " sdev:%" SCNx64 " mask:%x ",
                    &descriptor, &watch.file.inode, &watch.file.device, &watch.mask) != 4)
      return unexpected(line);
    watch.descriptor = static_cast<int>(descriptor);
    TRY(scan_handle(line, &watch.file));
    watches.push_back(std::move(watch));
  }
  return watches;
}

// fs/notify/fdinfo.c, fanotify_fdinfo(): one line for each mark, named by what it is on.
Result<FanotifyInfo> parse_fanotify(std::string_view text) {
  FanotifyInfo info;
  const std::vector<std::string> lines = lines_of(text, "fanotify ");
  if (lines.empty() || std::sscanf(lines.front().c_str(), "fanotify flags:%x event-flags:%x",
                                   &info.init_flags, &info.event_flags) != 2)
    return Error::malformed("fdinfo: no line \"fanotify flags\"");
  for (size_t i = 1; i < lines.size(); i++) {
    const char* line = lines[i].c_str();
    FanotifyMark mark;
    if (std::sscanf(line, "fanotify ino:%" SCNx64 " sdev:%" SCNx64, &mark.file.inode,
                    &mark.file.device) == 2)
      mark.kind = FanotifyMark::Kind::kInode;
    else if (std::sscanf(line, "fanotify sdev:%" SCNx64, &mark.file.device) == 1)
      mark.kind = FanotifyMark::Kind::kFileSystem;
    else if (std::sscanf(line, "fanotify mnt_id:%x", reinterpret_cast<unsigned*>(&mark.mount_id)) ==
             1)
      mark.kind = FanotifyMark::Kind::kMount;
    const size_t masks = lines[i].find("mflags:");
    if (masks == std::string::npos || std::sscanf(line + masks, "mflags:%x mask:%x ignored_mask:%x",
                                                  &mark.flags, &mark.mask, &mark.ignored_mask) != 3)
      return unexpected(lines[i]);
    TRY(scan_handle(lines[i], &mark.file));
    info.marks.push_back(std::move(mark));
  }
  return info;
}

Result<std::vector<LockInfo>> parse_locks(std::string_view text) {
  std::vector<LockInfo> locks;
  for (const std::string& line : lines_of(text, "lock:")) {
    char kind[16];
    char state[16];
    char type[16];
    char end[32];
    LockInfo lock;
    if (std::sscanf(line.c_str(), "lock: %*d: %15s %15s %15s %*d %*[^ ] %" SCNu64 " %31s", kind,
                    state, type, &lock.start, end) != 5)
      return unexpected(line);
    lock.breaking = std::string_view(state) == "BREAKING";
    lock.unlock = std::string_view(type) == "UNLCK";
    std::string_view name = kind;
    if (name == "POSIX")
      lock.kind = LockKind::kPosix;
    else if (name == "OFDLCK")
      lock.kind = LockKind::kOpenFile;
    else if (name == "FLOCK")
      lock.kind = LockKind::kFlock;
    else
      lock.kind = LockKind::kLease;
    lock.write = std::string_view(type) == "WRITE";
    lock.end = ~uint64_t{0};
    if (std::string_view(end) != "EOF" && std::sscanf(end, "%" SCNu64, &lock.end) != 1)
      return unexpected(line);
    locks.push_back(lock);
  }
  return locks;
}

uint64_t kernel_device(uint64_t st_dev) { return (uint64_t{major(st_dev)} << 20) | minor(st_dev); }

}  // namespace ncr
