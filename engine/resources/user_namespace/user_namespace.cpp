// User namespace (struct user_namespace): the maps of ids and whether setgroups(2) is denied.
// /proc/PID/uid_map shows the ids of the namespace above as the reader's own namespace numbers
// them.
#include <sched.h>

#include "engine/resources/room.h"

namespace ncr::user_namespace {

extern const NamespaceRoom kRoom = {
    .name = "user", .kind = schema::Namespace::kUser, .clone_flag = CLONE_NEWUSER};

}  // namespace ncr::user_namespace
