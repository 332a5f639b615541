// Names for the kinds of file that no room takes.
#pragma once

#include <string>

#include "engine/resources/room.h"

namespace ncr {

struct UnsupportedKind {
  std::string name;
  std::string reason;
  std::string way_out;
};

// Pure, from what was gathered of a descriptor. file_system is statfs.f_type of it, socket_domain
// AF_* (-1 if it is no socket).
UnsupportedKind name_unsupported(const FdProbe& probe, int64_t file_system, int socket_domain,
                                 int socket_type);

// Asks the kernel for the rest and calls name_unsupported().
UnsupportedKind unsupported_kind(const FdProbe& probe);

// A regular file of a file system whose files are kernel objects, not bytes.
bool is_kernel_object(int64_t file_system);
Result<int64_t> file_system_of(const Fd& fd);

}  // namespace ncr
