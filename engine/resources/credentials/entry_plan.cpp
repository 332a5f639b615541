// A process goes into its user namespace as late as the kernel lets it: setns(2) takes a single
// thread, so before there are others; if there are none, when everything else of it is done. Until
// then it has the rights of the tree's root, which it may need for what it had before it went
// there. The ids are those of whoever enters: set above, also those that are not mapped below, and
// found right by credentials.Set, which numbers them as the kernel then tells them.
#include "engine/resources/credentials/entry_plan.h"

#include <grp.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <algorithm>

#include <cstring>
#include <vector>

#include "engine/base/sys.h"
#include "engine/resources/credentials/credentials.h"

namespace ncr::credentials {
namespace {

constexpr uint32_t kOverflow = 65534;  // the default of /proc/sys/kernel/overflowuid

// The step and its groups, as space `space` numbers them.
template <class Step>
void number_as_inside(const UserSpaces& users, uint32_t space, Step* step, std::string* groups) {
  for (uint32_t& id : step->uids) id = users.uid(space, id).value_or(kOverflow);
  for (uint32_t& id : step->gids) id = users.gid(space, id).value_or(kOverflow);
  for (size_t at = 0; at + sizeof(uint32_t) <= groups->size(); at += sizeof(uint32_t)) {
    uint32_t group = 0;
    std::memcpy(&group, groups->data() + at, sizeof group);
    group = users.gid(space, group).value_or(kOverflow);
    std::memcpy(groups->data() + at, &group, sizeof group);
  }
}

void number_as_inside(const UserSpaces& users, uint32_t space, std::string* payload) {
  Set step{};
  std::memcpy(&step, payload->data(), sizeof step);
  std::string groups = payload->substr(sizeof step);
  number_as_inside(users, space, &step, &groups);
  std::memcpy(payload->data(), &step, sizeof step);
  payload->replace(sizeof step, std::string::npos, groups);
}

// By its first thread, as the space numbers them that it comes from.
void add_entry(const UserSpaces& users, TaskPlan& task, const std::string& payload) {
  Set step{};
  std::memcpy(&step, payload.data(), sizeof step);
  std::string groups = payload.substr(sizeof step);
  EnterUserNamespace entry{};
  std::memcpy(entry.uids, step.uids, sizeof entry.uids);
  std::memcpy(entry.gids, step.gids, sizeof entry.gids);
  entry.group_count = step.group_count;
  entry.fd = task.user_fd;
  number_as_inside(users, task.born_user, &entry, &groups);
  if (task.thread_steps.size() == 1)
    task.thread_steps.front().add_before<Set>(wire::Stage::kCredentials, entry, groups);
  else
    task.steps.add(wire::Stage::kProcess, entry, groups);
}

}  // namespace

// Where it is denied to set them they may be right already.
bool has_groups(const std::vector<gid_t>& wanted) {
  const int count = ::getgroups(0, nullptr);
  std::vector<gid_t> groups(static_cast<size_t>(std::max(count, 0)));
  return count >= 0 && ::getgroups(count, groups.data()) == count && groups == wanted;
}

Result<> become(const UserSpaces& users, uint32_t space, const schema::Task& task) {
  const schema::Credentials& wanted = task.threads(0).credentials();
  std::vector<gid_t> groups;
  for (uint32_t group : wanted.groups())
    groups.push_back(users.gid(space, group).value_or(kOverflow));
  auto uid = [&](int i) { return users.uid(space, wanted.uids(i)).value_or(kOverflow); };
  auto gid = [&](int i) { return users.gid(space, wanted.gids(i)).value_or(kOverflow); };
  (void)SYSCALL(::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP), "PR_SET_SECUREBITS");
  if (!has_groups(groups)) TRY(SYSCALL(::setgroups(groups.size(), groups.data()), "setgroups"));
  TRY(SYSCALL(::setresgid(gid(0), gid(1), gid(2)), "setresgid"));
  TRY(SYSCALL(::setresuid(uid(0), uid(1), uid(2)), "setresuid"));
  return {};
}

Result<> plan_entry(const UserSpaces& users, TaskPlan& task) {
  const uint32_t space = users.of(*task.record);
  if (space == 0 || task.thread_steps.empty()) return {};
  const std::string* first = task.thread_steps.front().payload<Set>();
  if (first == nullptr) return Error::malformed(strf("task %d has no credentials", task.pid));
  if (space != task.born_user) add_entry(users, task, std::string(*first));
  for (StepList& steps : task.thread_steps)
    if (std::string* payload = steps.payload<Set>()) number_as_inside(users, space, payload);
  return {};
}

}  // namespace ncr::credentials
