// Where a file is that the kernel watches for events: it names it by device, inode and handle, or
// by the number of a mount. Runs in the engine, at a dump.
#pragma once

#include <string>
#include <vector>

#include "engine/resources/fdinfo.h"
#include "engine/tree/mount_view.h"

namespace ncr {

// A path that leads to the file now.
Result<std::string> path_of_watched(const MountView& view, const WatchedFile& file);
// Where a mount is; refused if another one covers it.
Result<std::string> path_of_mount(const MountView& view, int mount_id);
// Of some mount of the file system with this device (the kernel's own dev_t).
Result<std::string> path_of_file_system(const MountView& view, uint64_t device);

}  // namespace ncr
