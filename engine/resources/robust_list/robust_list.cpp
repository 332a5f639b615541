// The two things the kernel does to a thread's memory when it exits: it wakes the owners of robust
// futexes that the thread held (task_struct.robust_list), and it clears a word and wakes whoever
// waits there, pthread_join for one (task_struct.clear_child_tid). Both are addresses in the
// target.
//
// The list is asked from outside by tid; the word only the thread itself can ask for.
#include "engine/resources/robust_list/robust_list.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "engine/resources/room.h"

namespace ncr::robust_list {
namespace {

constexpr uint64_t kHeadSize = 24;  // struct robust_list_head, the only size the kernel takes

Result<> look_thread(const Task&, const SeizedThread& thread, schema::Thread* record) {
  void* head = nullptr;
  size_t size = 0;
  TRY(SYSCALL(::syscall(SYS_get_robust_list, thread.tid(), &head, &size),
              "get_robust_list of thread %d", thread.tid()));
  if (head == nullptr) return {};
  record->set_robust_list(reinterpret_cast<uint64_t>(head));
  record->set_robust_list_size(size);
  return {};
}

void ask_thread(const Task&, const schema::Thread&, Batch& batch) { batch.ask<GetTidAddress>({}); }

Result<> read_thread(const Task&, const Batch& batch, schema::Thread* record) {
  int error = 0;
  const GetTidAddress::Reply* reply = batch.find<GetTidAddress>(&error);
  if (reply == nullptr) return Error::system(error, "PR_GET_TID_ADDRESS in the target");
  record->set_clear_child_tid(reply->address);
  return {};
}

// Always, also if there is nothing to set: the leader still has the engine's own.
Result<> plan_thread(const schema::Task&, const schema::Thread& thread, StepList& steps) {
  uint64_t size = thread.robust_list() != 0 ? thread.robust_list_size() : kHeadSize;
  steps.add(wire::Stage::kThread, Set{thread.clear_child_tid(), thread.robust_list(), size});
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "robust_list",
                               .look_thread = look_thread,
                               .ask_thread = ask_thread,
                               .read_thread = read_thread,
                               .plan_thread = plan_thread};

}  // namespace ncr::robust_list
