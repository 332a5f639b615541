// Locks that belong to an open file description: whoever makes the description takes them.
#pragma once

#include "engine/base/sys.h"
#include "open_file.pb.h"

namespace ncr::file_lock {

Result<> take_description_locks(const Fd& fd, const schema::OpenFile& record);

}  // namespace ncr::file_lock
