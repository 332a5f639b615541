// POSIX message queues of an ipc namespace.
#pragma once

#include "engine/base/sys.h"
#include "ipc_namespace.pb.h"

namespace ncr::ipc_namespace {

Result<> dump_posix_queues(schema::IpcNamespace* record);
Result<> make_posix_queue(const schema::PosixQueue& queue);

// Whether the status text of a queue says that a process waits to be notified (mq_notify(3)). Pure.
bool has_notification(std::string_view status);

}  // namespace ncr::ipc_namespace
