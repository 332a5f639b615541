// Files of /proc about processes.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "engine/base/sys.h"

namespace ncr::proc_file {

// N of "/proc/N" and "/proc/N/...", with the deleted mark behind it or not; 0 if the path is no
// such. Pure.
pid_t process_in(const std::string& path);
// While `use` runs, a process of this number lives, and is gone again then. For the child, when
// every process of the tree exists.
Result<> with_process(pid_t pid, const std::function<Result<>()>& use);

}  // namespace ncr::proc_file
