// The same piece of work for many objects, shared by a few threads.
#pragma once

#include <cstddef>
#include <functional>

#include "engine/base/result.h"

namespace ncr {

// Calls body(0) to body(count - 1), each once, on up to `threads` threads, the caller's among them,
// and returns when all are done. Of several errors that of the lowest index is returned; after one
// no more calls begin. A small `count` is not worth a thread.
Result<> in_parallel(size_t count, unsigned threads, const std::function<Result<>(size_t)>& body);

}  // namespace ncr
