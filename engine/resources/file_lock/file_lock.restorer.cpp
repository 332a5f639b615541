// restorer: a POSIX lock belongs to the process and is lost as soon as the process closes any
// descriptor of the file, so it is taken when no more will be closed.
#include <linux/fcntl.h>

#include "engine/resources/file_lock/file_lock.h"
#include "pie/syscall.h"

namespace ncr::file_lock {

pie::Ret run(const TakeLock& step) {
  constexpr short kFromStart = 0;  // SEEK_SET
  struct flock lock {};
  lock.l_type = static_cast<short>(step.write != 0 ? F_WRLCK : F_RDLCK);
  lock.l_whence = kFromStart;
  lock.l_start = static_cast<__kernel_off_t>(step.start);
  lock.l_len = static_cast<__kernel_off_t>(step.length);
  return pie::sys(__NR_fcntl, step.fd, F_SETLK, &lock);
}

}  // namespace ncr::file_lock
