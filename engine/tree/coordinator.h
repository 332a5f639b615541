// The process that makes a tree: a fork of the caller, so that a caller with many threads, its
// signal handlers and its descriptors stay as they are.
#pragma once

#include <sys/types.h>

#include <functional>

#include "engine/base/result.h"
#include "engine/request.h"

namespace ncr {

// Runs `body` in a child of the calling thread, all signals blocked, and brings its outcome back.
// The child dies with the caller. `avoid` says which process numbers it must not have. When
// `request.callbacks.cancelled` says so, the `cancelled` that the body is given does.
using CoordinatorBody =
    std::function<Result<RestoreReport>(const std::function<bool()>& cancelled)>;
Result<RestoreReport> run_coordinator(const RestoreRequest& request,
                                      const std::function<bool(pid_t)>& avoid,
                                      const CoordinatorBody& body);

// The outcome as bytes, there and back. Pure.
std::string encode_outcome(const Result<RestoreReport>& outcome);
Result<RestoreReport> decode_outcome(const std::string& bytes);

}  // namespace ncr
