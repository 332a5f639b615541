// The flags of an open file description that F_SETFL sets and open() may not. O_ASYNC is the file
// restorer's: it needs the owner first.
#pragma once

#include <fcntl.h>

#include "engine/base/procfs.h"
#include "engine/base/sys.h"

namespace ncr {

inline Result<> set_status_flags(const Fd& fd, uint32_t flags) {
  constexpr int kSettable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;
  int now = TRY(SYSCALL(::fcntl(fd.get(), F_GETFL), "F_GETFL"));
  int wanted = static_cast<int>(flags) & kSettable;
  if ((now & kSettable) == wanted) return {};
  TRY(SYSCALL(::fcntl(fd.get(), F_SETFL, (now & ~kSettable) | wanted), "F_SETFL 0%o", wanted));
  return {};
}

// Whether the file was made by open(2) of a directory with O_TMPFILE.
inline bool is_temporary_file(uint32_t flags) {
  return (static_cast<int>(flags) & O_TMPFILE) == O_TMPFILE;
}

// The flags that open(2) of something that exists may be given.
inline int open_flags(uint32_t flags) {
  const int temporary = is_temporary_file(flags) ? O_TMPFILE : 0;
  return static_cast<int>(flags) & ~(O_CREAT | O_EXCL | O_TRUNC | O_ASYNC | temporary);
}

// A second description of the object behind `fd`.
inline Result<Fd> reopen(const Fd& fd, int flags) {
  return procfs::open(strf("self/fd/%d", fd.get()), flags | O_NOCTTY);
}

// Joins the files of one object (OpenFile.group_id). Never 0.
inline uint64_t group_of(uint64_t device, uint64_t inode) {
  uint64_t mixed = (device * 0x9e3779b97f4a7c15ull) ^ (inode * 0xff51afd7ed558ccdull);
  return mixed == 0 ? 1 : mixed;
}

}  // namespace ncr
