#include "engine/base/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <string_view>

namespace ncr {

void Fd::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

}  // namespace ncr

namespace ncr::sys {
namespace {

Result<std::string> read_to_end(const Fd& fd, const char* path) {
  std::string text;
  char buffer[16 << 10];
  for (size_t used = 0;;) {
    const auto got = static_cast<size_t>(
        TRY(SYSCALL(::read(fd.get(), buffer + used, sizeof buffer - used), "read %s", path)));
    used += got;
    if (got > 0 && used < sizeof buffer) continue;
    text.append(buffer, used);
    if (got == 0) return text;
    used = 0;
  }
}

}  // namespace

Result<Fd> open(const char* path, int flags, unsigned mode) {
  return Fd(TRY(SYSCALL(::open(path, flags | O_CLOEXEC, mode), "open %s", path)));
}

void make_room_for_descriptors() {
  constexpr rlim_t kOfContainer = 600;  // a small one
  struct sysinfo machine {};
  rlimit most{};
  if (::sysinfo(&machine) != 0 || ::getrlimit(RLIMIT_NOFILE, &most) != 0) return;
  const rlim_t count = std::min(kOfContainer + 2 * machine.procs, most.rlim_cur);
  Fd any(::open("/", O_PATH | O_CLOEXEC));
  Fd far(::fcntl(any.get(), F_DUPFD_CLOEXEC, static_cast<int>(count) - 1));
}

Result<Fd> open_at(const Fd& dir, const char* path, int flags, unsigned mode) {
  return Fd(TRY(SYSCALL(::openat(dir.get(), path, flags | O_CLOEXEC, mode), "open %s", path)));
}

Result<std::string> read_file(const char* path) {
  Fd fd = TRY(open(path, O_RDONLY));
  return read_to_end(fd, path);
}

Result<std::string> read_file_at(const Fd& dir, const char* path) {
  Fd fd = TRY(open_at(dir, path, O_RDONLY));
  return read_to_end(fd, path);
}

Result<std::string> read_link_at(const Fd& dir, const char* path) {
  char target[PATH_MAX];
  ssize_t length =
      TRY(SYSCALL(::readlinkat(dir.get(), path, target, sizeof target), "readlink %s", path));
  return std::string(target, static_cast<size_t>(length));
}

// Not readdir(3), whose buffer is allocated anew for each of thousands of small directories.
Result<std::vector<int>> numbered_entries(const Fd& parent, const char* path) {
  Fd directory = TRY(open_at(parent, path, O_RDONLY | O_DIRECTORY));
  std::vector<int> numbers;
  alignas(dirent64) char buffer[8192];
  for (;;) {
    const ssize_t size =
        TRY(SYSCALL(::getdents64(directory.get(), buffer, sizeof buffer), "list %s", path));
    if (size == 0) return numbers;
    for (ssize_t at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
      at += entry->d_reclen;
      const std::string_view name = entry->d_name;
      int number = 0;
      auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
      if (error == std::errc() && end == name.data() + name.size()) numbers.push_back(number);
    }
  }
}

Result<> pread_exact(const Fd& fd, void* data, size_t size, uint64_t offset) {
  char* at = static_cast<char*>(data);
  while (size > 0) {
    ssize_t got = TRY(SYSCALL(::pread(fd.get(), at, size, static_cast<off_t>(offset)), "pread"));
    if (got == 0) return Error::malformed("pread: the file ends early");
    at += got;
    size -= static_cast<size_t>(got);
    offset += static_cast<uint64_t>(got);
  }
  return {};
}

Result<> read_exact(const Fd& fd, void* data, size_t size) {
  char* at = static_cast<char*>(data);
  while (size > 0) {
    ssize_t got = TRY(SYSCALL(::read(fd.get(), at, size), "read"));
    if (got == 0) return Error::gone("read: the other side closed");
    at += got;
    size -= static_cast<size_t>(got);
  }
  return {};
}

Result<> write_all(const Fd& fd, const void* data, size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    ssize_t put = TRY(SYSCALL(::write(fd.get(), at, size), "write"));
    at += put;
    size -= static_cast<size_t>(put);
  }
  return {};
}

Result<> pwrite_all(const Fd& fd, const void* data, size_t size, uint64_t offset) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    ssize_t put = TRY(SYSCALL(::pwrite(fd.get(), at, size, static_cast<off_t>(offset)), "pwrite"));
    if (put == 0)
      return Error::gone("pwrite: nothing is written any more");  // /proc/PID/mem of a dead task
    at += put;
    size -= static_cast<size_t>(put);
    offset += static_cast<uint64_t>(put);
  }
  return {};
}

Result<Fd> pidfd_open(pid_t pid) {
  Result<long> fd = SYSCALL(::syscall(SYS_pidfd_open, pid, 0), "pidfd_open %d", pid);
  if (!fd.ok() && fd.error().os_error() == ESRCH)
    return Error::gone(strf("process %d is gone", pid));
  return Fd(static_cast<int>(TRY(std::move(fd))));
}

Result<Fd> pidfd_getfd(const Fd& pidfd, int number) {
  return Fd(static_cast<int>(
      TRY(SYSCALL(::syscall(SYS_pidfd_getfd, pidfd.get(), number, 0), "pidfd_getfd %d", number))));
}

Result<int> kcmp(pid_t pid1, pid_t pid2, int type, unsigned long index1, unsigned long index2) {
  return static_cast<int>(TRY(
      SYSCALL(::syscall(SYS_kcmp, pid1, pid2, type, index1, index2), "kcmp %d %d", pid1, pid2)));
}

}  // namespace ncr::sys
