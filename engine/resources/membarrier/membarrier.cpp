// Which expedited membarrier(2) commands a process registered for (mm_struct.membarrier_state). A
// process that finds itself not registered gets EPERM from a call it relies on: the runtimes of Go,
// Java and .NET do. Kernels before 6.3 cannot say; there the private expedited one is registered,
// which costs next to nothing.
#include "engine/resources/membarrier/membarrier.h"

#include "engine/resources/room.h"

namespace ncr::membarrier {
namespace {

void ask(const Task&, const schema::Task&, Batch& batch) { batch.ask<Get>({}); }

Result<> read(const Task&, const Batch& batch, schema::Task* record) {
  const Get::Reply* reply = batch.find<Get>();
  if (reply != nullptr && reply->registrations != 0)
    record->mutable_flags()->set_membarrier_registrations(
        static_cast<uint32_t>(reply->registrations));
  return {};
}

Result<> plan(const schema::Task& record, StepList& steps) {
  // While the process has one thread: with more, the kernel waits for every CPU.
  if (record.flags().membarrier_registrations() != 0)
    steps.add(wire::Stage::kProcess, Register{record.flags().membarrier_registrations()});
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "membarrier", .ask = ask, .read = read, .plan = plan};

}  // namespace ncr::membarrier
