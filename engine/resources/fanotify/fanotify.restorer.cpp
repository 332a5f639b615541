// restorer: puts a mark on an inode, a mount or a file system. Late, so that what the restore
// itself opens is not reported to the program.
#include <linux/fanotify.h>
#include <linux/fcntl.h>

#include "engine/resources/fanotify/fanotify.h"
#include "pie/syscall.h"

namespace ncr::fanotify {

pie::Ret run(const AddMark& step) {
  constexpr uint32_t kIgnoring =
      FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY | 0x400;  // FAN_MARK_IGNORE, since 6.0
  const char* path = reinterpret_cast<const char*>(&step + 1);
  const uint64_t mask = step.mask;
  const uint64_t ignored = step.ignored_mask;
  if (mask != 0) {
    pie::Ret got =
        pie::sys(__NR_fanotify_mark, step.fd, step.flags & ~kIgnoring, mask, AT_FDCWD, path);
    if (!got.ok()) return got;
  }
  if (ignored == 0) return pie::Ret::success();
  return pie::sys(__NR_fanotify_mark, step.fd, step.flags, ignored, AT_FDCWD, path);
}

}  // namespace ncr::fanotify
