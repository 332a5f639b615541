// Pid namespace (struct pid_namespace). Made by the clone of its first process, which is its init.
// What is below that of the root of the tree: engine/resources/namespaces/nested_pid_namespaces.cpp.
#include <sched.h>

#include "engine/resources/room.h"

namespace ncr::pid_namespace {

extern const NamespaceRoom kRoom = {
    .name = "pid", .kind = schema::Namespace::kPid, .clone_flag = CLONE_NEWPID};

}  // namespace ncr::pid_namespace
