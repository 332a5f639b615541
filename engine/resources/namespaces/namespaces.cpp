// Namespaces of a task (struct nsproxy, and its pid and user namespace): /proc/PID/ns/* are links
// that read "net:[4026531840]". What is the engine's own is not part of an image: a tree is
// restored in the namespaces of whoever restores it. Of the others each kind has a room. Threads
// may differ from their leader in what setns(2) changes per thread, and a process may have made a
// time namespace for its children only: such trees are refused by name. Runs in the engine.
#include "engine/resources/namespaces/namespaces.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <set>

#include "engine/base/sys.h"
#include "engine/resources/room.h"
#include "engine/tree/process_table.h"

namespace ncr::namespaces {
namespace {

using Kind = schema::Namespace::ContentCase;

constexpr const char* kOfProcess[] = {
    "cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children",
    "user",   "uts"};
constexpr const char* kOfZombie[] = {"pid"};
constexpr const char* kOfThread[] = {"mnt", "net"};  // what programs do change in single threads

template <size_t N>
Links read_links(const Fd& directory, const std::string& folder, const char* const (&names)[N]) {
  Links links;
  for (const char* name : names) {
    Result<std::string> link = sys::read_link_at(directory, (folder + name).c_str());
    if (link.ok()) links.emplace(name, link.take());
  }
  return links;
}

const std::string& link_or_none(const Links& links, const char* name) {
  static const std::string kNone;
  auto found = links.find(name);
  return found == links.end() ? kNone : found->second;
}

void check_threads(const Task& task, const Links& leader, Blockers& blockers) {
  std::set<std::string> differing;
  for (size_t i = 1; i < task.threads.size(); i++) {
    const Links links =
        read_links(task.proc, strf("task/%d/ns/", task.threads[i].tid()), kOfThread);
    for (const char* name : kOfThread)
      if (differs(link_or_none(leader, name), link_or_none(links, name))) differing.insert(name);
  }
  for (const std::string& name : differing)
    blockers.add(task, strf("%s namespace", name.c_str()),
                 "its threads are in several of them, which is not supported");
}

}  // namespace

// A link that could not be read belongs to a namespace that nobody is in yet (pid_for_children
// after unshare) or that the kernel does not have.
bool differs(const std::string& own, const std::string& theirs) {
  return !own.empty() && own != theirs;
}

uint64_t inode_of(const std::string& link) {
  size_t open = link.find(":[");
  if (open == std::string::npos) return 0;
  return std::strtoull(link.c_str() + open + 2, nullptr, 10);
}

bool enterable(Kind kind) {
  return kind == schema::Namespace::kMnt || kind == schema::Namespace::kNet ||
         kind == schema::Namespace::kIpc || kind == schema::Namespace::kUts;
}

// What else it says, it says of the whole tree.
extern const TaskRoom kRoom = {.name = "namespaces",
                               .read_ahead = [](const Task& task) { (void)links_of(task); }};

Result<Links> own_links() {
  return read_links(TRY(sys::open("/proc/thread-self", O_PATH | O_DIRECTORY)), "ns/", kOfProcess);
}

Links links_of(const Task& task) {
  Links links;
  for (const char* name : kOfProcess) {
    Result<const std::string*> link = task.proc_link((std::string("ns/") + name).c_str());
    if (link.ok()) links.emplace(name, *link.value());
  }
  return links;
}

Result<> NamespaceTable::look(const std::vector<Task>& tasks, const DumpRequest& request,
                              Blockers& blockers) {
  request_ = &request;
  tasks_ = &tasks;
  ids_.resize(tasks.size());
  births_to_come_.resize(tasks.size());
  spaces_of_children_.resize(tasks.size());
  for (size_t i = 0; i < tasks.size(); i++) TRY(look_at(tasks[i], i, blockers));
  look_at_births_to_come(tasks, blockers);
  if (records_.empty()) return {};
  TRY(find_owners(tasks, blockers));
  TRY(look_at_users(tasks));
  TRY(look_at_nested_pids(tasks, blockers));
  add_clocks();
  check_root(tasks.front(), blockers);
  if (request.final_state == FinalState::kKill) TRY(check_strangers(tasks, blockers));
  return {};
}

void NamespaceTable::look_at_children(const Task& task, size_t index, const Links& links,
                                      Blockers& blockers) {
  const std::string& clocks = link_or_none(links, "time_for_children");
  if (differs(link_or_none(links, "time"), clocks))
    blockers.add(task, "time_for_children namespace",
                 "its children are to be born in another one than its own");
  const std::string& numbers = link_or_none(links, "pid_for_children");
  if (differs(link_or_none(links, "pid"), numbers))
    births_to_come_[index] = numbers.empty() ? "none yet" : numbers;
  check_threads(task, links, blockers);
}

Result<> NamespaceTable::look_at(const Task& task, size_t index, Blockers& blockers) {
  const Links links = task.alive() ? links_of(task) : read_links(task.proc, "ns/", kOfZombie);
  if (task.alive()) look_at_children(task, index, links, blockers);
  for (const NamespaceRoom* room : namespace_rooms()) {
    const std::string& link = link_or_none(links, room->name);
    if (!task.alive() && link.empty()) continue;
    if (!differs(link_or_none(own_, room->name), link)) continue;
    uint32_t id = find(room->kind, inode_of(link));
    if (id == 0) {
      if (inode_of(link) == 0)
        return Error::system(
            EACCES, strf("the %s namespace of process %d cannot be read", room->name, task.pid));
      id = add(*room, inode_of(link));
      members_.push_back(index);
      const schema::Namespace& record = records_.back();
      if (enterable(room->kind) && room->dump == nullptr && !record.empty() &&
          record.external_key().empty())
        blockers.add(task, strf("%s namespace", room->name), "what is in it cannot be dumped yet",
                     strf("--external %s[%llu]:KEY", room->name,
                          static_cast<unsigned long long>(record.inode())));
    }
    ids_[index].push_back(id);
  }
  return {};
}

namespace {

// Of each kind the record is empty at first: the tag of its field, and a length of nothing.
void begin_content(Kind kind, schema::Namespace* record) {
  constexpr int kLengthDelimited = 2;
  const int tag = (static_cast<int>(kind) << 3) | kLengthDelimited;
  const char bytes[] = {static_cast<char>((tag & 0x7f) | 0x80), static_cast<char>(tag >> 7), 0};
  (void)record->MergeFromString(std::string(bytes, sizeof bytes));
}

}  // namespace

uint32_t NamespaceTable::add(const NamespaceRoom& room, uint64_t inode) {
  schema::Namespace& record = records_.emplace_back();
  record.set_id(static_cast<uint32_t>(records_.size()));
  record.set_inode(inode);
  for (const External& external : request_->externals)
    if (external.kind == room.name && external.object == std::to_string(inode))
      record.set_external_key(external.value);
  record.set_empty((request_->empty_namespaces & room.clone_flag) != 0);
  begin_content(room.kind, &record);
  return record.id();
}

// A container's clocks go on from where they were, on whatever machine it wakes up.
void NamespaceTable::add_clocks() {
  const uint32_t pid = of(0, schema::Namespace::kPid);
  const bool own_tree = pid != 0 && records_[pid - 1].external_key().empty();
  if (!own_tree || of(0, schema::Namespace::kTime) != 0 || !own_.contains("time")) return;
  schema::Namespace& record = records_.emplace_back();
  record.set_id(static_cast<uint32_t>(records_.size()));
  record.set_owner(records_[pid - 1].owner());
  record.mutable_time();
  members_.push_back(0);
  for (size_t i = 0; i < ids_.size(); i++)
    if (of(i, schema::Namespace::kTime) == 0) ids_[i].push_back(record.id());
}

Result<> NamespaceTable::find_owners(const std::vector<Task>& tasks, Blockers& blockers) {
  const size_t count = records_.size();  // user namespaces may be added
  for (size_t i = 0; i < count; i++) {
    for (const NamespaceRoom* room : namespace_rooms()) {
      const Kind kind = records_[i].content_case();
      if (room->kind != kind || kind == schema::Namespace::kUser) continue;
      Fd fd =
          TRY(sys::open_at(tasks[members_[i]].proc, strf("ns/%s", room->name).c_str(), O_RDONLY));
      (void)TRY(note_owner(fd, i));
      if (kind == schema::Namespace::kMnt && records_[i].external_key().empty() &&
          records_[i].id() == of(0, kind) && belongs_below(records_[i]))
        blockers.add(tasks.front(), "mount namespace",
                     "it belongs to a user namespace below that of the root, which is in it");
    }
  }
  return {};
}

// clone3(2) gives the first process of a new pid namespace the number 1.
void NamespaceTable::check_root(const Task& root, Blockers& blockers) const {
  uint32_t id = of(0, schema::Namespace::kPid);
  if (id == 0 || !records_[id - 1].external_key().empty()) return;
  Result<const ThreadStatus*> status = root.status(root.pid);
  if (!status.ok()) return;
  const std::vector<pid_t>& numbers = status.value()->status.ns_pids;
  if (numbers.empty() || numbers.back() == 1) return;
  blockers.add(
      root, "pid namespace",
      strf("the root of the tree is number %d in it, not its first process", numbers.back()),
      strf("dump from its first process on, or make it external: --external pid[%llu]:KEY",
           static_cast<unsigned long long>(records_[id - 1].inode())));
}

// With its first process a pid namespace loses all others.
Result<> NamespaceTable::check_strangers(const std::vector<Task>& tasks, Blockers& blockers) const {
  std::set<uint64_t> dying;
  for (const schema::Namespace& record : records_)
    if (record.has_pid() && record.external_key().empty()) dying.insert(record.inode());
  if (dying.empty()) return {};
  std::set<pid_t> ours;
  for (const Task& task : tasks) ours.insert(task.pid);
  std::vector<pid_t> all = TRY(sys::numbered_entries(Fd(), "/proc"));
  for (pid_t pid : all) {
    if (ours.contains(pid)) continue;
    Result<std::string> link = sys::read_link_at(Fd(), strf("/proc/%d/ns/pid", pid).c_str());
    if (!link.ok() || !dying.contains(inode_of(link.value()))) continue;
    Result<std::string> comm = sys::read_file(strf("/proc/%d/comm", pid).c_str());
    std::string name = comm.ok() ? comm.value().substr(0, comm.value().find('\n')) : "?";
    blockers.add(tasks.front(), "pid namespace",
                 strf("process %d (%s) lives in it without being below its first process (an exec "
                      "into the container?), and would die with it",
                      pid, name.c_str()),
                 "end it, or --leave-running");
  }
  return {};
}

uint32_t NamespaceTable::of(size_t index, Kind kind) const {
  for (uint32_t id : ids_[index])
    if (records_[id - 1].content_case() == kind) return id;
  return 0;
}

uint32_t NamespaceTable::find(Kind kind, uint64_t inode) const {
  for (const schema::Namespace& record : records_)
    if (record.content_case() == kind && record.inode() == inode) return record.id();
  return 0;
}

}  // namespace ncr::namespaces
