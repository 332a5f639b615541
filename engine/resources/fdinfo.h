// /proc/PID/fdinfo/N as records. Pure: text in, structs out. Numbers are as the kernel prints
// them, 5.15 to 6.18.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace ncr {

// What every descriptor has (fs/proc/fd.c, seq_show).
struct FdInfo {
  uint64_t position = 0;
  uint32_t flags = 0;          // O_*, without O_CLOEXEC
  bool close_on_exec = false;  // of the descriptor, not of the description
  int mount_id = 0;
};
Result<FdInfo> parse_fdinfo(std::string_view text);

struct EventfdInfo {
  uint64_t count = 0;
  std::optional<bool> semaphore;  // printed since 6.5
};
Result<EventfdInfo> parse_eventfd(std::string_view text);

Result<uint64_t> parse_signalfd_mask(std::string_view text);

struct TimerfdInfo {
  int clock = 0;
  uint64_t ticks = 0;  // expirations not read yet
  int settime_flags = 0;
};
Result<TimerfdInfo> parse_timerfd(std::string_view text);

struct EpollTarget {
  int number =
      0;  // the descriptor as the program named it; it may be closed or something else by now
  uint32_t events = 0;
  uint64_t data = 0;
  uint64_t inode = 0;
  uint64_t device = 0;  // the kernel's own dev_t: major << 20 | minor
};
Result<std::vector<EpollTarget>> parse_epoll(std::string_view text);

// A file that is watched for events, as the kernel remembers it: not by its path.
struct WatchedFile {
  uint64_t inode = 0;
  uint64_t device = 0;  // the kernel's own dev_t
  int handle_type = 0;
  std::string handle;  // bytes of a struct file_handle; empty if the file system has none
};

struct InotifyWatch {
  int descriptor = 0;
  uint32_t mask = 0;
  WatchedFile file;
};
Result<std::vector<InotifyWatch>> parse_inotify(std::string_view text);

struct FanotifyMark {
  enum class Kind { kInode, kMount, kFileSystem, kOther };
  Kind kind = Kind::kOther;
  WatchedFile file;    // of kInode; of kFileSystem the device alone
  int mount_id = 0;    // of kMount
  uint32_t flags = 0;  // FAN_MARK_*
  uint32_t mask = 0;
  uint32_t ignored_mask = 0;
};
struct FanotifyInfo {
  uint32_t init_flags = 0;
  uint32_t event_flags = 0;
  std::vector<FanotifyMark> marks;
};
Result<FanotifyInfo> parse_fanotify(std::string_view text);

enum class LockKind { kPosix, kOpenFile, kFlock, kLease };
struct LockInfo {
  LockKind kind = LockKind::kPosix;
  bool write = false;
  uint64_t start = 0;
  uint64_t end = 0;       // last byte; all ones: to the end of the file, however it grows
  bool breaking = false;  // a lease that somebody else stands in wait for ...
  bool unlock = false;    // ... to be given up
};
Result<std::vector<LockInfo>> parse_locks(std::string_view text);

// major << 20 | minor, as st_dev says it.
uint64_t kernel_device(uint64_t st_dev);

}  // namespace ncr
