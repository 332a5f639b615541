// Reads pages of a stopped task without changing anything about them.
#pragma once

#include <sys/types.h>

#include "engine/base/result.h"
#include "engine/memory/run_set.h"

namespace ncr {

// What is known of who maps them: pages that are mapped once can be read the fast way.
enum class Mapped { kUnknown, kOnce };

// All of `pages`, one behind the other, to `to`. kGone: the process does not exist (any more).
Result<> read_pages(pid_t pid, const RunSet& pages, char* to, Mapped mapped = Mapped::kUnknown);

}  // namespace ncr
