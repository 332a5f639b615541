// Reading and writing a stopped task's memory.
#pragma once

#include <string>

#include "engine/base/ids.h"
#include "engine/base/result.h"

namespace ncr {

Result<> read_remote(pid_t pid, RemoteAddress from, void* to, size_t size);  // process_vm_readv
Result<> write_remote(pid_t pid, RemoteAddress to, const void* from,
                      size_t size);  // process_vm_writev
Result<> patch_remote(pid_t pid, RemoteAddress to, const void* from,
                      size_t size);  // /proc/PID/mem: also read-only text

}  // namespace ncr
