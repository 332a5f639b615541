// Pseudo-terminals that are mounted somewhere (/dev/console of a container).
#pragma once

#include "engine/image/image_reader.h"

namespace ncr::mount_namespace {

// Restore, a task in the mount namespace with this id (0: any), which has just made the terminal
// /dev/pts/`number` there: mounts it where it was.
Result<> mount_terminal(const Image& image, uint32_t namespace_id, unsigned number);

}  // namespace ncr::mount_namespace
