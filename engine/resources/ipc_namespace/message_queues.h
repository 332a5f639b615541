// System V message queues.
#pragma once

#include "engine/base/result.h"
#include "ipc_namespace.pb.h"

namespace ncr::ipc_namespace {

Result<> dump_message_queues(schema::IpcNamespace* record);
Result<> make_message_queue(const schema::MessageQueue& queue);

}  // namespace ncr::ipc_namespace
