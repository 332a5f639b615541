// The restartable-sequence area of a thread (task_struct.rseq): the kernel writes the current CPU
// there, so it is registered once the thread's memory is in its place. libc registers one for every
// thread, also for ours, so the engine's is given up in the child before its memory goes away.
//
// A thread that stands inside a critical section must not go on in its middle after it was away:
// the section is aborted in the dumped registers, as the kernel does on a migration.
#include "engine/resources/rseq/rseq.h"

#include <sys/ptrace.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/resources/room.h"

namespace ncr::rseq {
namespace {

constexpr long kMinimumSize =
    32;  // of the original ABI; __rseq_size may be less, it counts only the fields in use

Result<> look_thread(const Task&, const SeizedThread& thread, schema::Thread* record) {
  __ptrace_rseq_configuration area{};
  auto answer = SYSCALL(::ptrace(static_cast<__ptrace_request>(PTRACE_GET_RSEQ_CONFIGURATION),
                                 thread.tid(), sizeof area, &area),
                        "PTRACE_GET_RSEQ_CONFIGURATION of thread %d", thread.tid());
  if (!answer.ok() && answer.error().os_error() == EIO) return {};  // a kernel without rseq
  TRY(std::move(answer));
  if (area.rseq_abi_pointer == 0) return {};
  record->mutable_rseq()->set_address(area.rseq_abi_pointer);
  record->mutable_rseq()->set_size(area.rseq_abi_size);
  record->mutable_rseq()->set_signature(area.signature);
  record->mutable_rseq()->set_flags(area.flags);
  return {};
}

Result<> plan_thread(const schema::Task&, const schema::Thread& thread, StepList& steps) {
  if (thread.has_rseq())
    steps.add(wire::Stage::kThread,
              Register{thread.rseq().address(), thread.rseq().size(), thread.rseq().signature()});
  return {};
}

// Unregisters the engine's own area of this thread. Not there any more: an ancestor did it before
// it forked us.
Result<> restore(const ChildTask&) {
  if (__rseq_size == 0) return {};
  char* area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
  long size = __rseq_size < kMinimumSize ? kMinimumSize : static_cast<long>(__rseq_size);
  auto answer = SYSCALL(::syscall(SYS_rseq, area, size, RSEQ_FLAG_UNREGISTER, RSEQ_SIG),
                        "give up the engine's own rseq area");
  if (!answer.ok() && answer.error().os_error() != EINVAL) return answer.take_error();
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {
    .name = "rseq", .look_thread = look_thread, .plan_thread = plan_thread, .restore = restore};

}  // namespace ncr::rseq
