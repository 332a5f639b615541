// UTS namespace (struct new_utsname): the names that uname(2) gives.
#include <sched.h>

#include "engine/resources/room.h"

namespace ncr::uts_namespace {

extern const NamespaceRoom kRoom = {
    .name = "uts", .kind = schema::Namespace::kUts, .clone_flag = CLONE_NEWUTS};

}  // namespace ncr::uts_namespace
