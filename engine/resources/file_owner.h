// Who gets the signals of a file (F_SETOWN, F_SETSIG, O_ASYNC). Runs in the child.
#pragma once

#include <sys/types.h>

#include "engine/base/result.h"
#include "open_file.pb.h"

namespace ncr {

// `number`: the owner, as the caller numbers processes. One that is gone by now gets nothing, as
// before.
Result<> set_owner(int fd, const schema::OpenFile& file, pid_t number);

}  // namespace ncr
