// IPC namespace (struct ipc_namespace): System V segments, semaphores and queues, and their
// sysctls.
#include <sched.h>

#include "engine/resources/room.h"

namespace ncr::ipc_namespace {

extern const NamespaceRoom kRoom = {
    .name = "ipc", .kind = schema::Namespace::kIpc, .clone_flag = CLONE_NEWIPC};

}  // namespace ncr::ipc_namespace
