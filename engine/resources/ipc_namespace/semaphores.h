// System V semaphore sets.
#pragma once

#include "engine/base/result.h"
#include "ipc_namespace.pb.h"

namespace ncr::ipc_namespace {

Result<> dump_semaphores(schema::IpcNamespace* record);
Result<> make_semaphores(const schema::SemaphoreSet& set);

}  // namespace ncr::ipc_namespace
