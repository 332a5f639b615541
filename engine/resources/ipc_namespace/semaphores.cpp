// A set of semaphores (struct sem_array). Userspace cannot see what a process has to be undone at
// its exit (SEM_UNDO): a restored process undoes nothing of what it did before. Who waits in
// semop(2) was interrupted, as by any stop (signal(7)). Runs in the engine's thread in the
// namespace, and in the root task.
#include "engine/resources/ipc_namespace/semaphores.h"

#include <sys/sem.h>

#include <vector>

#include "engine/base/sys.h"
#include "engine/resources/ipc_namespace/ipc_object.h"

namespace ncr::ipc_namespace {
namespace {

union Argument {  // semctl(2) has the caller define it
  int value;
  semid_ds* status;
  unsigned short* values;
  seminfo* usage;
};

Result<> dump_set(int id, schema::SemaphoreSet* set) {
  semid_ds status{};
  Argument argument{};
  argument.status = &status;
  TRY(SYSCALL(::semctl(id, 0, IPC_STAT, argument), "semctl IPC_STAT"));
  describe_object(id, status.sem_perm, set->mutable_object());
  std::vector<unsigned short> values(status.sem_nsems);
  argument.values = values.data();
  TRY(SYSCALL(::semctl(id, 0, GETALL, argument), "semctl GETALL"));
  set->mutable_values()->Add(values.begin(), values.end());
  return {};
}

}  // namespace

Result<> dump_semaphores(schema::IpcNamespace* record) {
  seminfo usage{};
  Argument argument{};
  argument.usage = &usage;
  const int last = TRY(SYSCALL(::semctl(0, 0, SEM_INFO, argument), "semctl SEM_INFO"));
  const std::vector<int> ids = ids_up_to(last, [](int index) {
    semid_ds status{};
    Argument one{};
    one.status = &status;
    return ::semctl(index, 0, SEM_STAT, one);
  });
  for (int id : ids) TRY_WHILE(dump_set(id, record->add_semaphores()), "semaphores %d", id);
  return {};
}

Result<> make_semaphores(const schema::SemaphoreSet& set) {
  TRY(make_object("sem", set.object(), [&](int key, int flags) {
    return SYSCALL(::semget(key, set.values_size(), flags), "semget of %d semaphores",
                   set.values_size());
  }));
  const int id = set.object().id();
  std::vector<unsigned short> values;
  for (uint32_t value : set.values()) values.push_back(static_cast<unsigned short>(value));
  Argument argument{};
  argument.values = values.data();
  TRY(SYSCALL(::semctl(id, 0, SETALL, argument), "semctl SETALL"));
  semid_ds status{};
  set_owner(set.object(), &status.sem_perm);
  argument.status = &status;
  TRY(SYSCALL(::semctl(id, 0, IPC_SET, argument), "semctl IPC_SET"));
  return {};
}

}  // namespace ncr::ipc_namespace
