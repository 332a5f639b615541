// From which nodes of a machine with several a thread gets its pages (task_struct.mempolicy,
// set_mempolicy(2), numactl(8)). Only the thread itself can ask. The policies of single mappings
// (mbind(2)) are not kept: finding them takes a look at every page. Where the nodes are not there
// at the restore the thread gets the default policy.
#include "engine/resources/numa_policy/numa_policy.h"

#include <algorithm>

#include "engine/resources/room.h"

namespace ncr::numa_policy {
namespace {

void ask_thread(const Task&, const schema::Thread&, Batch& batch) { batch.ask<Get>({}); }

Result<> read_thread(const Task&, const Batch& batch, schema::Thread* record) {
  int error = 0;
  const Get::Reply* reply = batch.find<Get>(&error);
  if (reply == nullptr) return Error::system(error, "get_mempolicy in the target");
  if (reply->mode == 0) return {};
  schema::NumaPolicy* policy = record->mutable_numa_policy();
  policy->set_mode(reply->mode);
  uint32_t used = kWords;
  while (used != 0 && reply->nodes[used - 1] == 0) used--;
  for (uint32_t i = 0; i < used; i++) policy->add_nodes(reply->nodes[i]);
  return {};
}

Result<> plan_thread(const schema::Task&, const schema::Thread& thread, StepList& steps) {
  if (!thread.has_numa_policy()) return {};
  const schema::NumaPolicy& policy = thread.numa_policy();
  if (policy.nodes_size() > static_cast<int>(kWords))
    return Error::malformed(
        strf("thread %d: a memory policy for more than %u nodes", thread.tid(), kMostNodes));
  Set step{};
  step.mode = policy.mode();
  std::copy(policy.nodes().begin(), policy.nodes().end(), step.nodes);
  steps.add(wire::Stage::kThread, step);
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "numa_policy",
                               .ask_thread = ask_thread,
                               .read_thread = read_thread,
                               .plan_thread = plan_thread};

}  // namespace ncr::numa_policy
