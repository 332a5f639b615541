// restorer: changes the root. After everything that opens paths, before the capability to do so is
// given up.
#include "engine/resources/root_and_cwd/root_and_cwd.h"

#include "pie/syscall.h"

namespace ncr::root_and_cwd {

pie::Ret run(const ChangeRoot& step) {
  return pie::sys(__NR_chroot, reinterpret_cast<const char*>(&step + 1));
}

}  // namespace ncr::root_and_cwd
