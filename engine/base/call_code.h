// For code that may not build an Error (a process aside, a loop that allocates nothing): what a
// libc call came to.
#pragma once

#include <cerrno>

namespace ncr::sys {

// 0, or the errno of a call that gave a negative `value`.
inline int code_of(long value) { return value < 0 ? errno : 0; }

}  // namespace ncr::sys
