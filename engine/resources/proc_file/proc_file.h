// Files of /proc about processes.
#pragma once

#include <sys/types.h>

#include <string>

#include "engine/base/sys.h"

namespace ncr::proc_file {

// N of "/proc/N" and "/proc/N/...", with " (deleted)" behind it or not; 0 if the path is no such.
// Pure.
pid_t process_in(const std::string& path);
// Without the " (deleted)" that the kernel adds to what is gone. Pure.
std::string without_mark(const std::string& path);
// What /proc says of a process that is gone: a process of this number lives while it is opened.
// Runs in the child, when every process of the tree exists.
Result<Fd> open_gone(const std::string& path, pid_t pid, int flags);

}  // namespace ncr::proc_file
