// /proc/PID/status lists a process's numbers from the reader's pid namespace inwards (NSpid,
// NSpgid, NSsid; proc(5)). The level is that of the root task. Numbers that the tree itself stored
// (siginfo, what it wrote into memory) are its own already; only what the engine was told is
// translated.
#include "engine/tree/inner_pids.h"

#include "engine/base/sys.h"

namespace ncr {
namespace {

// What the rooms have read already; a zombie's nobody has.
Result<proc::Status> status_of(const Task& task) {
  if (task.alive()) return TRY(task.status(task.pid))->status;
  std::string text = TRY(sys::read_file_at(task.proc, "status"));
  return proc::parse_status(text);
}

}  // namespace

Result<InnerPids> InnerPids::read(const std::vector<Task>& tasks) {
  InnerPids pids;
  proc::Status root = TRY(status_of(tasks.front()));
  const size_t level = root.ns_pids.empty() ? 0 : root.ns_pids.size() - 1;
  if (level == 0) return pids;
  pids.differ_ = true;
  auto note = [&](const std::vector<pid_t>& numbers) {
    if (numbers.size() > level) pids.inner_[numbers.front()] = numbers[level];
  };
  for (const Task& task : tasks) {
    proc::Status status = TRY(status_of(task));
    note(status.ns_pids);
    note(status.ns_pgids);
    note(status.ns_sids);
    for (size_t i = 1; i < task.threads.size(); i++)
      note(TRY(task.status(task.threads[i].tid()))->status.ns_pids);
  }
  return pids;
}

pid_t InnerPids::of(pid_t outer) const {
  if (!differ_ || outer == 0) return outer;
  auto found = inner_.find(outer);
  return found == inner_.end() ? 0 : found->second;
}

// What only the task itself names, it names in its own namespace.
void InnerPids::translate(schema::Task* task, const PidSpaces& spaces) const {
  const uint32_t space = spaces.of(*task);
  auto own = [&](pid_t outer) { return space == 0 ? of(outer) : spaces.in(space, outer); };
  task->set_foreground_group(own(task->foreground_group()));
  for (schema::PosixTimer& timer : *task->mutable_posix_timers())
    timer.set_thread(own(timer.thread()));
  if (!differ_) return;
  task->set_pid(of(task->pid()));
  task->set_ppid(of(task->ppid()));
  task->set_pgid(of(task->pgid()));
  task->set_sid(of(task->sid()));
  task->set_files_shared_with(of(task->files_shared_with()));
  for (schema::Thread& thread : *task->mutable_threads()) thread.set_tid(of(thread.tid()));
  if (task->has_memory()) task->mutable_memory()->set_shared_with(of(task->memory().shared_with()));
}

void InnerPids::translate(schema::PidNamespace* space) const {
  if (!differ_) return;
  for (schema::PidPair& pair : *space->mutable_numbers()) pair.set_of_root(of(pair.of_root()));
}

void InnerPids::translate(schema::OpenFile* file) const {
  if (!differ_) return;
  if (file->has_owner()) file->mutable_owner()->set_pid(of(file->owner().pid()));
  if (file->has_pidfd()) file->mutable_pidfd()->set_pid(of(file->pidfd().pid()));
  if (!file->has_unix_socket()) return;
  schema::UnixSocket* socket = file->mutable_unix_socket();
  if (socket->has_peer_credentials())
    socket->mutable_peer_credentials()->set_pid(of(socket->peer_credentials().pid()));
  for (schema::UnixMessage& message : *socket->mutable_queue())
    if (message.has_credentials())
      message.mutable_credentials()->set_pid(of(message.credentials().pid()));
}

void InnerPids::translate(schema::PageMap* pages) const {
  if (differ_) pages->set_pid(of(pages->pid()));
}

}  // namespace ncr
