// Memory of a stopped task, from the engine. process_vm_readv/writev obey the protection of the
// mapping and copy without a file; /proc/PID/mem breaks through it (FOLL_FORCE), which is how
// read-only text is patched. All of them may move less than was asked at a page that is not there;
// then the address where it ended is named.
#include "engine/tracee/remote_memory.h"

#include <fcntl.h>
#include <sys/uio.h>

#include "engine/base/sys.h"

namespace ncr {
namespace {

enum class Direction { kRead, kWrite };

Result<> copy(pid_t pid, Direction direction, RemoteAddress remote, void* local, size_t size) {
  const char* verb = direction == Direction::kRead ? "read" : "write";
  size_t done = 0;
  while (done < size) {
    iovec ours{static_cast<char*>(local) + done, size - done};
    iovec theirs{reinterpret_cast<void*>(remote.value + done),
                 size - done};  // NOLINT: an address of another task
    ssize_t moved = TRY(SYSCALL(direction == Direction::kRead
                                    ? ::process_vm_readv(pid, &ours, 1, &theirs, 1, 0)
                                    : ::process_vm_writev(pid, &ours, 1, &theirs, 1, 0),
                                "%s %zu bytes of memory of task %d at %#lx", verb, size - done, pid,
                                static_cast<unsigned long>(remote.value + done)));
    if (moved == 0)
      return Error::gone(strf("%s memory of task %d at %#lx: nothing moved", verb, pid,
                              static_cast<unsigned long>(remote.value + done)));
    done += static_cast<size_t>(moved);
  }
  return {};
}

constexpr size_t kMaxParts = 4;

Result<> copy(pid_t pid, Direction direction, std::initializer_list<RemotePart> parts) {
  const char* verb = direction == Direction::kRead ? "read" : "write";
  iovec ours[kMaxParts];
  iovec theirs[kMaxParts];
  size_t count = 0;
  size_t size = 0;
  for (const RemotePart& part : parts) {
    if (count == kMaxParts) return Error::usage("too many parts of a task's memory at once");
    ours[count] = {const_cast<void*>(part.local), part.size};
    theirs[count++] = {reinterpret_cast<void*>(part.at.value),
                       part.size};  // NOLINT: of another task
    size += part.size;
  }
  const ssize_t moved = TRY(SYSCALL(direction == Direction::kRead
                                        ? ::process_vm_readv(pid, ours, count, theirs, count, 0)
                                        : ::process_vm_writev(pid, ours, count, theirs, count, 0),
                                    "%s %zu bytes of memory of task %d", verb, size, pid));
  if (static_cast<size_t>(moved) != size)
    return Error::gone(
        strf("%s memory of task %d: %zd of %zu bytes moved", verb, pid, moved, size));
  return {};
}

}  // namespace

Result<> read_remote(pid_t pid, std::initializer_list<RemotePart> parts) {
  return copy(pid, Direction::kRead, parts);
}

Result<> write_remote(pid_t pid, std::initializer_list<RemotePart> parts) {
  return copy(pid, Direction::kWrite, parts);
}

Result<> read_remote(pid_t pid, RemoteAddress from, void* to, size_t size) {
  return copy(pid, Direction::kRead, from, to, size);
}

Result<> write_remote(pid_t pid, RemoteAddress to, const void* from, size_t size) {
  return copy(pid, Direction::kWrite, to, const_cast<void*>(from), size);
}

Result<RemotePatch> RemotePatch::open(pid_t pid) {
  return RemotePatch(TRY(sys::open(strf("/proc/%d/mem", pid).c_str(), O_WRONLY)));
}

Result<> RemotePatch::write(RemoteAddress to, const void* from, size_t size) const {
  TRY_WHILE(sys::pwrite_all(memory_, from, size, to.value), "patch a task's memory at %#lx",
            static_cast<unsigned long>(to.value));
  return {};
}

}  // namespace ncr
