// A copy of a mount namespace to take apart.
#pragma once

#include <functional>

#include "engine/base/sys.h"

namespace ncr::mount_namespace {

// Dump, on a thread that has entered the namespace `space`. `proc`: a directory of the engine's
// procfs. `work` runs on another thread, in the copy, with the rights of its owner.
Result<> in_throwaway_copy(const Fd& space, const Fd& proc, const std::function<Result<>()>& work);

}  // namespace ncr::mount_namespace
