// Leases of open file descriptions (F_SETLEASE).
#pragma once

#include "engine/base/sys.h"
#include "engine/resources/fdinfo.h"
#include "open_file.pb.h"

namespace ncr::file_lock {

// What `lock`, a lease in the fdinfo of a description with these flags, says of it. Pure.
schema::Lease lease_of(const LockInfo& lock, uint32_t flags);
// Takes the lease at its final number, when nothing of the tree opens files any more. Who is told
// of its end (F_SETOWN) is set afterwards.
Result<> take_lease(int number, const schema::Lease& lease);

}  // namespace ncr::file_lock
