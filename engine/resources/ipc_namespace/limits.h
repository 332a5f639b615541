// The sysctls of an ipc namespace.
#pragma once

#include <vector>

#include "engine/base/result.h"
#include "ipc_namespace.pb.h"

namespace ncr::ipc_namespace {

Result<> dump_limits(schema::IpcNamespace* record);
// What the objects of the record need to be made, whatever their limits were later. Pure.
std::vector<schema::IpcSysctl> needed_limits(const schema::IpcNamespace& record);
Result<> raise_limits(const schema::IpcNamespace& record);  // where less is allowed now
Result<> set_limits(const schema::IpcNamespace& record);

}  // namespace ncr::ipc_namespace
