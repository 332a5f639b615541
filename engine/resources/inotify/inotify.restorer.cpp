// restorer: adds a watch under its old number. Late, so that what the restore itself opens and
// makes is not reported to the program.
#include <asm-generic/errno-base.h>
#include <linux/ioctl.h>

#include "engine/resources/inotify/inotify.h"
#include "pie/syscall.h"

namespace ncr::inotify {

pie::Ret run(const AddWatch& step) {
  constexpr unsigned kSetNextDescriptor = _IOW('I', 0, int32_t);  // INOTIFY_IOC_SETNEXTWD
  pie::Ret next =
      pie::sys(__NR_ioctl, step.fd, kSetNextDescriptor, static_cast<long>(step.descriptor));
  if (!next.ok()) return next;
  const char* path = reinterpret_cast<const char*>(&step + 1);
  pie::Ret got = pie::sys(__NR_inotify_add_watch, step.fd, path, step.mask);
  if (!got.ok()) return got;
  return got.raw() == step.descriptor ? pie::Ret::success() : pie::Ret(-EEXIST);
}

}  // namespace ncr::inotify
