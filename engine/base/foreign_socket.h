// Sockets in another network namespace than that of the calling thread, which goes there for a
// moment.
#pragma once

#include "engine/base/fd.h"
#include "engine/base/result.h"

namespace ncr {

Result<Fd> socket_in(const Fd& net_namespace, int family, int type, int protocol = 0);
// Where that one is.
Result<Fd> socket_beside(const Fd& socket, int family, int type, int protocol = 0);

}  // namespace ncr
