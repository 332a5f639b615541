// Who a thread is for the kernel (struct cred): user and group ids, supplementary groups,
// capability sets, securebits, no_new_privs. Each thread has its own, whatever libc makes of it.
// /proc/PID/task/TID/status shows all but the securebits, which only the thread itself can ask for.
//
// Restored last, by every thread for itself: each thing given up may be what the next one would
// have needed. What this process cannot give is found in the child, while there are words to say it
// in.
#include "engine/resources/credentials/credentials.h"

#include <sys/prctl.h>

#include "engine/resources/credentials/own_capabilities.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/room.h"

namespace ncr::credentials {
namespace {

Result<> look_thread(const Task& task, const SeizedThread& thread, schema::Thread* record) {
  const ThreadStatus* read = TRY(task.status(thread.tid()));
  const proc::Status& status = read->status;
  schema::Credentials* out = record->mutable_credentials();
  out->mutable_uids()->Add(status.uids.begin(), status.uids.end());
  out->mutable_gids()->Add(status.gids.begin(), status.gids.end());
  out->mutable_groups()->Add(status.groups.begin(), status.groups.end());
  out->set_cap_inheritable(status.cap_inheritable);
  out->set_cap_permitted(status.cap_permitted);
  out->set_cap_effective(status.cap_effective);
  out->set_cap_bounding(status.cap_bounding);
  out->set_cap_ambient(status.cap_ambient);
  out->set_no_new_privs(status.no_new_privs);
  return {};
}

void ask_thread(const Task&, const schema::Thread&, Batch& batch) { batch.ask<Get>({}); }

Result<> read_thread(const Task&, const Batch& batch, schema::Thread* record) {
  int error = 0;
  const Get::Reply* reply = batch.find<Get>(&error);
  if (reply == nullptr) return Error::system(error, "PR_GET_SECUREBITS in the target");
  record->mutable_credentials()->set_securebits(reply->securebits);
  return {};
}

Result<> plan_thread(const schema::Task&, const schema::Thread& thread, StepList& steps) {
  if (!thread.has_credentials()) return {};
  const schema::Credentials& wanted = thread.credentials();
  if (wanted.uids_size() != 4 || wanted.gids_size() != 4 ||
      wanted.groups_size() > static_cast<int>(kMaxGroups))
    return Error::malformed(strf("the credentials of thread %d are not whole", thread.tid()));
  Set step{};
  for (int i = 0; i < 4; i++) {
    step.uids[i] = wanted.uids(i);
    step.gids[i] = wanted.gids(i);
  }
  step.inheritable = wanted.cap_inheritable();
  step.permitted = wanted.cap_permitted();
  step.effective = wanted.cap_effective();
  step.bounding = wanted.cap_bounding();
  step.ambient = wanted.cap_ambient();
  step.securebits = wanted.securebits();
  step.no_new_privs = wanted.no_new_privs() ? 1 : 0;
  step.group_count = static_cast<uint32_t>(wanted.groups_size());
  std::string tail(reinterpret_cast<const char*>(wanted.groups().data()),
                   step.group_count * sizeof(uint32_t));
  steps.add(wire::Stage::kCredentials, step, tail);
  return {};
}

Result<> check_bounding(const schema::Thread& thread) {
  for (int capability = 0; capability < 64; capability++) {
    if ((thread.credentials().cap_bounding() >> capability & 1) == 0) continue;
    if (::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1) continue;
    return Error::unsupported(
        strf("thread %d has capability %d in its bounding set, this process has not; restore with "
             "more capabilities",
             thread.tid(), capability));
  }
  return {};
}

Result<> restore(const ChildTask& child) {
  CapabilitySets ours = TRY(own_capabilities());
  bool no_new_privs =
      TRY(SYSCALL(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), "PR_GET_NO_NEW_PRIVS")) == 1;
  const schema::Credentials* checked = nullptr;
  // All capabilities of a user namespace below come with the entry to it.
  const bool goes_down = child.files != nullptr && child.files->plan().users.of(child.record) != 0;
  for (const schema::Thread& thread : child.record.threads()) {
    const schema::Credentials& wanted = thread.credentials();
    if (uint64_t missing = wanted.cap_permitted() & ~ours.permitted; missing != 0 && !goes_down)
      return Error::unsupported(
          strf("thread %d had capabilities 0x%llx that this process has not; restore with more "
               "capabilities",
               thread.tid(), static_cast<unsigned long long>(missing)));
    if (no_new_privs && !wanted.no_new_privs())
      return Error::unsupported(
          strf("thread %d had no no_new_privs, and this process cannot take it off; restore from a "
               "process without it",
               thread.tid()));
    if (goes_down) continue;
    if (checked == nullptr || checked->cap_bounding() != wanted.cap_bounding())
      TRY(check_bounding(thread));
    checked = &wanted;
  }
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "credentials",
                               .look_thread = look_thread,
                               .ask_thread = ask_thread,
                               .read_thread = read_thread,
                               .plan_thread = plan_thread,
                               .restore = restore};

}  // namespace ncr::credentials
