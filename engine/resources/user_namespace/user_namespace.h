// What of a user namespace can be read.
#pragma once

#include "engine/base/sys.h"
#include "user_namespace.pb.h"

namespace ncr::user_namespace {

// Its maps, from /proc of a process in it; ids outside are ours.
Result<> read_maps(const Fd& proc, schema::UserNamespace* user);
// The same of one that no process we know is in: we send one.
Result<> read_maps_of_deserted(const Fd& nsfs, schema::UserNamespace* user);
// Of who made it, in our numbers.
Result<uint32_t> owner_of(const Fd& nsfs);
// The one above it; none if that is out of our sight.
Result<Fd> above(const Fd& nsfs);

}  // namespace ncr::user_namespace
