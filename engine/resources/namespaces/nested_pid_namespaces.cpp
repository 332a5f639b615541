// Pid namespaces below that of the tree's root (docs/adr/0017). One is made by the clone of its
// first process, whose parent is in the namespace above; everybody else of it is born there. The
// kernel tells the one above (ioctl_nsfs(2): NS_GET_PARENT) and all numbers of a process (proc(5):
// NSpid, NSpgid, NSsid). Runs in the engine.
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <unordered_map>

#include "engine/base/sys.h"
#include "engine/resources/namespaces/namespaces.h"
#include "engine/tree/pid_spaces.h"

namespace ncr::namespaces {
namespace {

using Kind = schema::Namespace::ContentCase;

// What the rooms read already; a zombie's nobody has.
Result<proc::Status> status_of(const Task& task, pid_t tid) {
  if (task.alive()) return TRY(task.status(tid))->status;
  return proc::parse_status(TRY(sys::read_file_at(task.proc, "status")));
}

void note(const std::vector<pid_t>& numbers, size_t level, schema::PidNamespace* space) {
  if (numbers.size() <= level || numbers[level] == 0) return;
  schema::PidPair* pair = space->add_numbers();
  pair->set_of_root(numbers.front());
  pair->set_here(numbers[level]);
}

// 0: out of our sight.
Result<uint64_t> inode_above(const Fd& nsfs) {
  Result<int> above = SYSCALL(::ioctl(nsfs.get(), NS_GET_PARENT), "NS_GET_PARENT");
  if (!above.ok()) return 0;
  const Fd fd(above.value());
  struct stat status {};
  TRY(SYSCALL(::fstat(fd.get(), &status), "fstat"));
  return status.st_ino;
}

}  // namespace

std::vector<size_t> NamespaceTable::nested_pid_namespaces() const {
  std::vector<size_t> nested;
  const uint32_t of_root = of(0, Kind::kPid);
  for (size_t i = 0; i < first_deserted(); i++)
    if (records_[i].has_pid() && records_[i].id() != of_root) nested.push_back(i);
  return nested;
}

uint32_t NamespaceTable::find_nested_pids(uint64_t inode) const {
  const uint32_t id = find(Kind::kPid, inode);
  return id == of(0, Kind::kPid) ? 0 : id;
}

Result<> NamespaceTable::look_at_nested_pids(const std::vector<Task>& tasks, Blockers& blockers) {
  const std::vector<size_t> nested = nested_pid_namespaces();
  for (size_t index : nested) {
    const Task& member = tasks[members_[index]];
    Fd nsfs = TRY(sys::open_at(member.proc, "ns/pid", O_RDONLY));
    const uint64_t above = TRY(inode_above(nsfs));
    records_[index].set_parent(find(Kind::kPid, above));
    check_nested_pid(records_[index], above, member, blockers);
  }
  for (size_t i = 0; i < tasks.size() && !nested.empty(); i++)
    check_rights_below(tasks[i], i, blockers);
  for (size_t index : nested) TRY(note_numbers(tasks, index));
  if (!nested.empty()) TRY(check_births(tasks, blockers));
  return {};
}

void NamespaceTable::check_nested_pid(const schema::Namespace& record, uint64_t above,
                                      const Task& member, Blockers& blockers) const {
  const uint32_t of_root = of(0, Kind::kPid);
  auto own = own_.find("pid");
  const bool below_ours = own != own_.end() && inode_of(own->second) == above;
  std::string reason;
  if (!record.external_key().empty())
    reason = "one that is not that of the root of the tree cannot be external";
  else if (record.parent() == 0 && (of_root != 0 || !below_ours))
    reason = "the one above it is not that of any process of the tree";
  if (!reason.empty()) blockers.add(member, "pid namespace", reason);
}

// Everybody in a pid namespace is born in the user namespace that it belongs to.
void NamespaceTable::check_rights_below(const Task& task, size_t index, Blockers& blockers) const {
  const uint32_t own = of(index, Kind::kPid);
  const uint32_t owner = own == 0 ? 0 : records_[own - 1].owner();
  if (!task.alive() || !is_nested_user(owner)) return;
  uint32_t at = of(index, Kind::kUser);
  while (at != 0 && at != owner) at = records_[at - 1].parent();
  if (at != owner)
    blockers.add(task, "pid namespace",
                 "it belongs to a user namespace that this process is not in, nor below");
}

// Whoever has a number there has it at the same place of its list.
Result<> NamespaceTable::note_numbers(const std::vector<Task>& tasks, size_t index) {
  const Task& member = tasks[members_[index]];
  const proc::Status of_member = TRY(status_of(member, member.pid));
  const size_t level = of_member.ns_pids.size() - 1;
  schema::PidNamespace* space = records_[index].mutable_pid();
  std::unordered_map<uint32_t, bool> within{{0, false}};
  auto is_within = [&](uint32_t id) {
    for (; id != 0; id = records_[id - 1].parent())
      if (id == records_[index].id()) return true;
    return false;
  };
  for (size_t i = 0; i < tasks.size(); i++) {
    const uint32_t own = of(i, Kind::kPid);
    auto [known, is_new] = within.try_emplace(own, false);
    if (is_new) known->second = is_within(own);
    if (!known->second) continue;
    const proc::Status status = TRY(status_of(tasks[i], tasks[i].pid));
    note(status.ns_pids, level, space);
    note(status.ns_pgids, level, space);
    note(status.ns_sids, level, space);
    for (size_t at = 1; at < tasks[i].threads.size(); at++)
      note(TRY(status_of(tasks[i], tasks[i].threads[at].tid())).ns_pids, level, space);
  }
  return {};
}

// Who came in from outside (setns(2) and a fork) cannot be born there again, and with its first
// process, which waits until an outside parent has collected such a one, the namespace could not
// end.
Result<> NamespaceTable::check_births(const std::vector<Task>& tasks, Blockers& blockers) const {
  std::unordered_map<pid_t, size_t> index;
  for (size_t i = 0; i < tasks.size(); i++) index[tasks[i].pid] = i;
  std::map<uint32_t, size_t> first;  // by namespace: how many
  for (size_t i = 1; i < tasks.size(); i++) {
    const uint32_t own = of(i, Kind::kPid);
    auto parent = index.find(tasks[i].ppid);
    const uint32_t of_parent = parent == index.end() ? 0 : of(parent->second, Kind::kPid);
    if (own == of_parent) continue;
    const std::vector<pid_t> numbers = TRY(status_of(tasks[i], tasks[i].pid)).ns_pids;
    const bool begins_it =
        numbers.back() == 1 && own != 0 && records_[own - 1].parent() == of_parent;
    if (!begins_it)
      blockers.add(tasks[i], "pid namespace",
                   strf("it came into it from outside (an exec into a container?): its parent %d "
                        "is in another one",
                        tasks[i].ppid),
                   "end it before the dump");
    else if (!tasks[i].alive() && WIFSIGNALED(tasks[i].exit_status))
      blockers.add(tasks[i], "pid namespace",
                   "its first process was killed, which the first process of a new one cannot be",
                   "have its parent collect it");
    first[own] += begins_it ? 1 : 0;
  }
  for (size_t nested : nested_pid_namespaces())
    if (first[records_[nested].id()] == 0)
      blockers.add(tasks[members_[nested]], "pid namespace",
                   "the first process of it is not part of the tree");
  return {};
}

// One that nobody is in yet has no first process; threads have a setting each.
void NamespaceTable::look_at_births_to_come(const std::vector<Task>& tasks, Blockers& blockers) {
  for (size_t i = 0; i < tasks.size(); i++) {
    if (!tasks[i].alive() || births_to_come_[i].empty()) continue;
    const uint32_t id = find_nested_pids(inode_of(births_to_come_[i]));
    const bool nested = id != 0;
    if (nested && tasks[i].threads.size() == 1)
      spaces_of_children_[i] = id;
    else
      blockers.add(tasks[i], "pid_for_children namespace",
                   nested ? "a process with several threads whose children are to be born in "
                            "another one than its own is not supported"
                          : "its children are to be born in another one than its own");
  }
}

// Each waits for the first process of what it shows, and what is mounted on it waits with it.
void NamespaceTable::check_proc_mounts(const std::vector<Task>& tasks, Blockers& blockers) const {
  auto owner_of = [this](const schema::Namespace& record) {
    return is_nested_user(record.owner()) ? record.owner() : 0;
  };
  for (const schema::Namespace& record : records_) {
    std::unordered_map<uint32_t, uint32_t> waits_for;  // by mount
    for (const schema::Mount& mount : record.mnt().mounts()) {
      const auto& systems = record.mnt().file_systems();
      const uint32_t shown = systems[static_cast<int>(mount.file_system()) - 1].pid_namespace();
      const uint32_t above = waits_for[mount.parent()];
      if (shown != 0 && (mount.parent() == 0 || (above != 0 && above != shown)))
        blockers.add(tasks[members_[record.id() - 1]],
                     strf("mount %s (proc)", mount.point().c_str()),
                     "it is mounted on a procfs of another pid namespace below that of the root, "
                     "or is a root itself",
                     "unmount it before the dump");
      if (shown != 0 && owner_of(records_[shown - 1]) != owner_of(record))
        blockers.add(tasks[members_[record.id() - 1]],
                     strf("mount %s (proc)", mount.point().c_str()),
                     "it shows a pid namespace that belongs to another user namespace than the "
                     "mount namespace does",
                     "unmount it before the dump");
      waits_for[mount.id()] = shown != 0 ? shown : above;
    }
  }
}

}  // namespace ncr::namespaces
