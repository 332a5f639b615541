// Reading and writing a stopped task's memory.
#pragma once

#include <initializer_list>
#include <string>

#include "engine/base/fd.h"
#include "engine/base/ids.h"
#include "engine/base/result.h"

namespace ncr {

Result<> read_remote(pid_t pid, RemoteAddress from, void* to, size_t size);  // process_vm_readv
Result<> write_remote(pid_t pid, RemoteAddress to, const void* from,
                      size_t size);  // process_vm_writev

struct RemotePart {
  RemoteAddress at;
  const void* local;  // written to by read_remote
  size_t size;
};

// All of the parts by one call, or an error.
Result<> read_remote(pid_t pid, std::initializer_list<RemotePart> parts);
Result<> write_remote(pid_t pid, std::initializer_list<RemotePart> parts);

// Writes through /proc/PID/mem, also to read-only text, which becomes the task's own copy.
class RemotePatch {
 public:
  static Result<RemotePatch> open(pid_t pid);
  Result<> write(RemoteAddress to, const void* from, size_t size) const;

 private:
  explicit RemotePatch(Fd memory) : memory_(std::move(memory)) {}
  Fd memory_;
};

}  // namespace ncr
