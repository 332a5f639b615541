// The meeting point with libc's -1/errno convention: every libc call that can fail is wrapped in
// SYSCALL, so errno is read here only.
#pragma once

#include <cerrno>
#include <vector>

#include "engine/base/fd.h"
#include "engine/base/result.h"

namespace ncr::sys {

// SYSCALL(::openat(dir, path, flags), "openat %s", path) -> Result<int>: the call's value if >= 0,
// else Error::system(errno, ...). EINTR is retried.
#define SYSCALL(call, ...)                                                                   \
  __extension__({                                                                            \
    decltype(call) syscall_value_;                                                           \
    do syscall_value_ = (call);                                                              \
    while (syscall_value_ < 0 && errno == EINTR);                                            \
    int syscall_errno_ = errno;                                                              \
    syscall_value_ < 0 ? ::ncr::Result<decltype(call)>(                                      \
                             ::ncr::Error::system(syscall_errno_, ::ncr::strf(__VA_ARGS__))) \
                       : ::ncr::Result<decltype(call)>(syscall_value_);                      \
  })

// For a dump of any tree that this machine may have. The kernel enlarges a process's table of
// descriptors in steps, and with several threads in it each takes 30 ms (fs/file.c,
// expand_fdtable): one step now, while nobody waits.
void make_room_for_descriptors();

Result<Fd> open(const char* path, int flags, unsigned mode = 0);  // O_CLOEXEC is added
Result<Fd> open_at(const Fd& dir, const char* path, int flags,
                   unsigned mode = 0);            // O_CLOEXEC is added
Result<std::string> read_file(const char* path);  // whole, also from /proc
Result<std::string> read_file_at(const Fd& dir, const char* path);
Result<std::string> read_link_at(const Fd& dir, const char* path);
// The entries of a directory of /proc that are numbers, in the kernel's order: ascending for /proc,
// /proc/PID/fd and /proc/PID/fdinfo.
Result<std::vector<int>> numbered_entries(const Fd& parent, const char* path);
Result<> read_exact(const Fd& fd, void* data, size_t size);  // EOF before size is an error
Result<> pread_exact(const Fd& fd, void* data, size_t size, uint64_t offset);
Result<> write_all(const Fd& fd, const void* data, size_t size);
Result<> pwrite_all(const Fd& fd, const void* data, size_t size, uint64_t offset);
Result<Fd> pidfd_open(pid_t pid);  // ESRCH becomes kGone
Result<Fd> pidfd_getfd(const Fd& pidfd, int number);
// Where two descriptors of two tasks stand: 0 same object, 1 or 2 an order usable for sorting
// (kcmp(2)); type is KCMP_*.
Result<int> kcmp(pid_t pid1, pid_t pid2, int type, unsigned long index1, unsigned long index2);

}  // namespace ncr::sys
