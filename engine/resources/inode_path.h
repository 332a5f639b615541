// From a file to a path: by its file handle, through the mounts that show its file system.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/sys.h"
#include "engine/tree/mount_view.h"

namespace ncr {

struct FileHandle {
  uint64_t device = 0;  // the kernel's own dev_t
  uint64_t inode = 0;
  int type = 0;
  std::string bytes;  // of a struct file_handle
};

// kUnsupported: its file system has none.
Result<FileHandle> handle_of(const Fd& file);
// Where the file system with this device (the kernel's own dev_t) is mounted, whole ones before
// bind mounts of a part. Pure: from mountinfo.
std::vector<std::string> mount_points(const std::string& mountinfo, uint64_t device);
// A path that leads to the file in this mount namespace.
Result<std::string> path_by_handle(const MountView& view, const FileHandle& handle);

}  // namespace ncr
