// Tasks that have exited and were not waited for yet.
#pragma once

#include "engine/base/result.h"
#include "task.pb.h"

namespace ncr::zombie {

// Runs in the child that is to be the zombie: ends it with the status of the image.
[[noreturn]] void become(const schema::Task& record);
// Runs in its parent: until it has exited, leaving it to be waited for.
Result<> await(pid_t pid);

}  // namespace ncr::zombie
