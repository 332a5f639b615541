// What segments, semaphore sets and message queues have in common: an id that programs remember, a
// key, owners.
#pragma once

#include <sys/ipc.h>

#include <functional>
#include <string>

#include "engine/base/sys.h"
#include "ipc_namespace.pb.h"

namespace ncr::ipc_namespace {

void describe_object(int id, const ipc_perm& owner, schema::IpcObject* object);

// Makes an object that gets the id and the creator of the record. `kind`: "shm", "sem" or "msg";
// `make` is shmget(2) and the like. An object of that key that is there already is an error.
Result<> make_object(const char* kind, const schema::IpcObject& object,
                     const std::function<Result<int>(int key, int flags)>& make);

// For IPC_SET, which changes these and nothing else of the owners.
void set_owner(const schema::IpcObject& object, ipc_perm* owner);

// The ids of all objects of a kind: the answers to "which is at index i" for i up to `last`.
std::vector<int> ids_up_to(int last, const std::function<int(int index)>& id_at);

}  // namespace ncr::ipc_namespace
