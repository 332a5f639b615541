// A process goes into its user namespace as late as the kernel lets it: setns(2) takes a single
// thread, so before there are others; if there are none, when everything else of it is done. Until
// then it has the rights of the tree's root, which it may need for what it had before it went
// there. The ids are those of whoever enters: set above, also those that are not mapped below, and
// found right by credentials.Set, which numbers them as the kernel then tells them.
#include "engine/resources/credentials/entry_plan.h"

#include <cstring>

#include "engine/resources/credentials/credentials.h"

namespace ncr::credentials {
namespace {

constexpr uint32_t kOverflow = 65534;  // the default of /proc/sys/kernel/overflowuid

void number_as_inside(const UserSpaces& users, uint32_t space, std::string* payload) {
  Set step{};
  std::memcpy(&step, payload->data(), sizeof step);
  for (uint32_t& id : step.uids) id = users.uid(space, id).value_or(kOverflow);
  for (uint32_t& id : step.gids) id = users.gid(space, id).value_or(kOverflow);
  std::memcpy(payload->data(), &step, sizeof step);
  for (uint32_t i = 0; i < step.group_count; i++) {
    char* at = payload->data() + sizeof step + i * sizeof(uint32_t);
    uint32_t group = 0;
    std::memcpy(&group, at, sizeof group);
    group = users.gid(space, group).value_or(kOverflow);
    std::memcpy(at, &group, sizeof group);
  }
}

// Of its first thread.
Result<EnterUserNamespace> entry_of(const TaskPlan& task, const std::string& set) {
  if (set.size() < sizeof(Set))
    return Error::malformed(strf("task %d has no credentials", task.pid));
  Set step{};
  std::memcpy(&step, set.data(), sizeof step);
  EnterUserNamespace entry{};
  std::memcpy(entry.uids, step.uids, sizeof entry.uids);
  std::memcpy(entry.gids, step.gids, sizeof entry.gids);
  entry.group_count = step.group_count;
  entry.fd = task.user_fd;
  return entry;
}

}  // namespace

Result<> plan_entry(const UserSpaces& users, TaskPlan& task) {
  const uint32_t space = users.of(*task.record);
  if (space == 0 || task.thread_steps.empty()) return {};
  StepList& first = task.thread_steps.front();
  const std::string set = first.payload<Set>() == nullptr ? "" : *first.payload<Set>();
  const EnterUserNamespace entry = TRY(entry_of(task, set));
  const std::string groups = set.substr(sizeof(Set));
  if (task.thread_steps.size() == 1)
    first.add_before<Set>(wire::Stage::kCredentials, entry, groups);
  else
    task.steps.add(wire::Stage::kProcess, entry, groups);
  for (StepList& steps : task.thread_steps)
    if (std::string* payload = steps.payload<Set>()) number_as_inside(users, space, payload);
  return {};
}

}  // namespace ncr::credentials
