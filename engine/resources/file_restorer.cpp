// The open files of one task being born. A file is made once, by its owner, at a number above all
// numbers of the image, and reaches the other users by fork (docs/adr/0004); the object of this
// class is copied with the process, so a child knows what its ancestors opened. Runs in the child.
//
// install() ends with exactly the table of the image: nothing of ours and nothing of the process
// that asked for the restore is left.
#include "engine/resources/file_restorer.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <map>
#include <unordered_map>
#include <vector>

#include "engine/base/procfs.h"
#include "engine/resources/file_lock/description_locks.h"
#include "engine/resources/file_lock/lease.h"
#include "engine/resources/file_owner.h"
#include "engine/resources/tty/orphan_terminals.h"
#include "engine/tree/namespace_set.h"

namespace ncr {
namespace {

Result<Fd> move_above(Fd fd, int base) {
  if (fd.get() >= base) return fd;
  Result<int> moved =
      SYSCALL(::fcntl(fd.get(), F_DUPFD_CLOEXEC, base), "fcntl F_DUPFD_CLOEXEC %d", base);
  if (!moved.ok() && (moved.error().os_error() == EINVAL || moved.error().os_error() == EMFILE))
    return moved.take_error().while_doing(
        "no descriptor numbers left above those of the image: raise the limit of open files "
        "(ulimit -Hn)");
  return Fd(TRY(std::move(moved)));
}

// Closes first..last, both included.
Result<> close_numbers(int first, unsigned last) {
  if (static_cast<unsigned>(first) > last) return {};
  TRY(SYSCALL(::syscall(SYS_close_range, static_cast<unsigned>(first), last, 0),
              "close_range %d..%u", first, last));
  return {};
}

struct Place {
  int service = -1;
  int flags = 0;  // of dup3
};

Result<> place_all(const std::map<int, Place>& table) {
  int next = 0;
  for (const auto& [number, place] : table)
    TRY_WHILE(SYSCALL(::dup3(place.service, number, place.flags), "dup3"), "fd %d", number);
  for (const auto& [number, place] : table) {
    if (number > next) TRY(close_numbers(next, static_cast<unsigned>(number - 1)));
    next = number + 1;
  }
  return close_numbers(next, UINT_MAX);
}

}  // namespace

struct FileRestorer::Impl {
  const RestorePlan& plan;
  const RestoreRequest& request;
  const SharedMemoryObjects* shared_memory = nullptr;
  const NamespaceSet* namespaces = nullptr;  // null: there is one of each kind
  std::map<uint32_t, int> opened{};          // file id -> service number
  std::map<uint32_t, int> late{};            // the same, of those made late by this very task
  std::map<std::pair<uint64_t, std::string>, Fd> stash{};
  std::unordered_map<uint64_t, std::vector<const schema::OpenFile*>> groups{};
  const tty::OrphanTerminals* orphans = nullptr;
  const tun::DeviceDesk* devices = nullptr;
  size_t opening = 0;      // index of the task whose files are being opened
  std::vector<Fd> kept{};  // for the caller

  pid_t number(pid_t of_root) const {
    return plan.spaces.in(plan.tasks[opening].pid_space, of_root);
  }

  void find_groups() {
    for (const auto& [id, file] : plan.image->files) {
      if (file.group_id() != 0) groups[file.group_id()].push_back(&file);
      for (uint64_t group : file.joins()) groups[group].push_back(&file);
    }
    for (auto& [group, members] : groups)
      std::sort(members.begin(), members.end(), [](auto* a, auto* b) { return a->id() < b->id(); });
  }

  Result<size_t> index_of(const schema::Task& task) const {
    for (size_t i = 0; i < plan.tasks.size(); i++)
      if (plan.tasks[i].record == &task ||
          (plan.tasks[i].record != nullptr && plan.tasks[i].pid == task.pid()))
        return i;
    return Error::malformed(strf("task %d is not in the plan", task.pid()));
  }

  const InheritedFd* inherited(const schema::OpenFile& file) const {
    for (const InheritedFd& candidate : request.inherited)
      if (candidate.key == file.path()) return &candidate;
    return nullptr;
  }

  Result<Fd> make(FileRestorer& files, const schema::OpenFile& file) const {
    if (const InheritedFd* given = inherited(file))
      return Fd(TRY(SYSCALL(::fcntl(given->fd, F_DUPFD_CLOEXEC, plan.service_fd_base),
                            "the descriptor %d given for %s", given->fd, given->key.c_str())));
    const FdRoom* room = fd_room_of(file.kind_case());
    if (room == nullptr || room->open == nullptr)
      return Error::unsupported("of a kind that this engine cannot restore");
    Fd fd = TRY_WHILE(room->open(files, file), "%s", room->name);
    TRY(file_lock::take_description_locks(fd, file));
    return fd;
  }

  Result<> open(FileRestorer& files, const schema::OpenFile& file) {
    Fd fd = TRY(make(files, file));
    opened[file.id()] = TRY(move_above(std::move(fd), plan.service_fd_base)).release();
    return {};
  }

  using Connect = decltype(FdRoom::connect);
  Result<> connect(FileRestorer& files, const schema::OpenFile& file,
                   Connect FdRoom::*hook = &FdRoom::connect) const {
    const FdRoom* room = fd_room_of(file.kind_case());
    if (inherited(file) != nullptr || room == nullptr || room->*hook == nullptr) return {};
    Fd fd(opened.at(file.id()));
    Result<> connected = (room->*hook)(files, file, fd);
    (void)fd.release();
    TRY_WHILE(std::move(connected), "%s", room->name);
    return {};
  }

  // A late file is each task's own: where a room has both ways, the files of a group, which one
  // task makes for all, are not late.
  bool is_late(const schema::OpenFile& file) const {
    const FdRoom* room = fd_room_of(file.kind_case());
    if (inherited(file) != nullptr || room == nullptr || room->open_late == nullptr) return false;
    return room->open == nullptr || file.group_id() == 0;
  }

  Result<> open_late(FileRestorer& files, uint32_t id) {
    auto found = plan.image->files.find(id);
    if (found == plan.image->files.end() || !is_late(found->second) || late.contains(id)) return {};
    const FdRoom* room = fd_room_of(found->second.kind_case());
    Fd fd = TRY_WHILE(room->open_late(files, found->second), "file %u (%s): %s", id,
                      found->second.path().c_str(), room->name);
    late[id] = opened[id] = TRY(move_above(std::move(fd), plan.service_fd_base)).release();
    return {};
  }

  // One task takes a lease for all that have the file: the first.
  bool is_first_holder(const schema::Task& task, uint32_t id) const {
    for (const TaskPlan& other : plan.tasks) {
      if (!other.live()) continue;
      for (const schema::Descriptor& descriptor : other.record->descriptors())
        if (descriptor.file_id() == id) return other.record == &task;
    }
    return false;
  }

  // At final numbers: the signal that a lease ends tells the number it was taken at.
  Result<> take_leases(const schema::Task& task) const {
    for (const schema::Descriptor& descriptor : task.descriptors()) {
      auto file = plan.image->files.find(descriptor.file_id());
      if (file == plan.image->files.end() || !file->second.has_lease() ||
          !is_first_holder(task, descriptor.file_id()))
        continue;
      TRY_WHILE(file_lock::take_lease(descriptor.number(), file->second.lease()), "fd %d (%s)",
                descriptor.number(), file->second.path().c_str());
      TRY(set_owner(descriptor.number(), file->second, number(file->second.owner().pid())));
    }
    return {};
  }

  // Every process of the tree exists now.
  Result<> make_late_files(FileRestorer& files, const schema::Task& task, const TaskPlan& mine) {
    for (uint32_t id : mine.owned_files) TRY(open_late(files, id));
    for (const schema::Descriptor& descriptor : task.descriptors())
      TRY(open_late(files, descriptor.file_id()));
    for (uint32_t id : mine.owned_files)
      TRY_WHILE(connect(files, plan.image->files.at(id), &FdRoom::connect_late), "file %u", id);
    return {};
  }

  // What a task needs until it is itself.
  Result<> add_service(size_t index, std::map<int, Place>* table) const {
    const TaskPlan& task = plan.tasks[index];
    if (task.procfs_fd >= 0 && procfs::looked_through() >= 0)
      (*table)[task.procfs_fd] = {procfs::looked_through(), O_CLOEXEC};
    if (task.user_fd >= 0) {
      const int user =
          namespaces == nullptr ? -1 : namespaces->descriptor("user", plan.users.of(*task.record));
      if (user < 0)
        return Error::malformed(strf("task %d: its user namespace was not made", task.pid));
      (*table)[task.user_fd] = {user, O_CLOEXEC};
    }
    if (task.exe_fd < 0) return {};
    auto executable = opened.find(task.record->memory().exe_file_id());
    if (executable == opened.end())
      return Error::malformed(strf("task %d: its executable was not opened", task.pid));
    (*table)[task.exe_fd] = {executable->second, O_CLOEXEC};
    return {};
  }

  // A file is made in the namespaces it was in, by whoever makes it.
  Result<> visit(const schema::Task& task, const schema::OpenFile& file) const {
    if (namespaces == nullptr) return {};
    if (namespaces->of(task, schema::Namespace::kNet) != file.net_namespace() &&
        is_of_a_network(file))
      TRY(namespaces->visit(schema::Namespace::kNet, file.net_namespace()));
    if (namespaces->of(task, schema::Namespace::kMnt) != file.mount_namespace())
      TRY(namespaces->visit(schema::Namespace::kMnt, file.mount_namespace()));
    return {};
  }

  Result<> come_back(const schema::Task& task, const schema::OpenFile& file) const {
    if (namespaces == nullptr) return {};
    const uint32_t net = namespaces->of(task, schema::Namespace::kNet);
    const uint32_t mnt = namespaces->of(task, schema::Namespace::kMnt);
    if (net != file.net_namespace() && is_of_a_network(file))
      TRY(namespaces->visit(schema::Namespace::kNet, net));
    if (mnt != file.mount_namespace()) TRY(namespaces->visit(schema::Namespace::kMnt, mnt));
    return {};
  }

  static bool is_of_a_network(const schema::OpenFile& file) {
    return file.has_unix_socket() || file.has_inet_socket() || file.has_netlink_socket() ||
           file.has_packet_socket() || file.has_tcp_socket() || file.has_tun();
  }

  // Of the task and of those that live in its table.
  Result<> add_services(size_t index, std::map<int, Place>* table) const {
    TRY(add_service(index, table));
    for (size_t child : plan.tasks[index].children)
      if (plan.tasks[child].shares_files) TRY(add_services(child, table));
    return {};
  }
};

FileRestorer::FileRestorer(const RestorePlan& plan, const RestoreRequest& request)
    : impl_(new Impl{plan, request}) {
  impl_->find_groups();
}
FileRestorer::~FileRestorer() = default;

Result<> FileRestorer::open_owned(const schema::Task& task) {
  impl_->opening = TRY(impl_->index_of(task));
  const TaskPlan& mine = impl_->plan.tasks[impl_->opening];
  for (bool connecting : {false, true}) {
    for (uint32_t id : mine.owned_files) {
      const schema::OpenFile& file = impl_->plan.image->files.at(id);
      if (impl_->is_late(file)) continue;
      TRY(impl_->visit(task, file));
      TRY_WHILE(connecting ? impl_->connect(*this, file) : impl_->open(*this, file), "file %u (%s)",
                id, file.path().c_str());
      TRY(impl_->come_back(task, file));
    }
  }
  impl_->stash.clear();
  return {};
}

Result<> FileRestorer::install(const schema::Task& task) {
  size_t index = TRY(impl_->index_of(task));
  const TaskPlan& mine = impl_->plan.tasks[index];
  if (mine.shares_files) return {};
  TRY(impl_->make_late_files(*this, task, mine));
  for (uint32_t id : mine.owned_files) {
    const schema::OpenFile& file = impl_->plan.image->files.at(id);
    if (impl_->inherited(file) == nullptr)
      TRY_WHILE(set_owner(impl_->opened.at(id), file, number(file.owner().pid())), "file %u (%s)",
                id, file.path().c_str());
  }
  std::map<int, Place> table;
  TRY(impl_->add_services(index, &table));
  for (const schema::Descriptor& descriptor : task.descriptors()) {
    int service = TRY_WHILE(opened(descriptor.file_id()), "fd %d", descriptor.number());
    table[descriptor.number()] = {service, descriptor.close_on_exec() ? O_CLOEXEC : 0};
  }
  TRY(place_all(table));
  // What it was looked through was closed there.
  if (procfs::looked_through() >= 0) procfs::look_through(Fd(mine.procfs_fd));
  return impl_->take_leases(task);
}

bool FileRestorer::is_late(uint32_t file_id) const {
  auto found = impl_->plan.image->files.find(file_id);
  return found != impl_->plan.image->files.end() && impl_->is_late(found->second);
}

const RestorePlan& FileRestorer::plan() const { return impl_->plan; }

Result<int> FileRestorer::opened(uint32_t file_id) const {
  auto found = impl_->opened.find(file_id);
  if (found == impl_->opened.end())
    return Error::malformed(strf("file %u was not opened by any ancestor", file_id));
  return found->second;
}

pid_t FileRestorer::number(pid_t of_root) const { return impl_->number(of_root); }

uint32_t FileRestorer::user(uint32_t of_root) const {
  const TaskPlan& task = impl_->plan.tasks[impl_->opening];
  return impl_->plan.users.uid(task.born_user, of_root).value_or(kNobody);
}

uint32_t FileRestorer::group(uint32_t of_root) const {
  const TaskPlan& task = impl_->plan.tasks[impl_->opening];
  return impl_->plan.users.gid(task.born_user, of_root).value_or(kNobody);
}

void FileRestorer::stash(uint64_t group_id, const std::string& key, Fd fd) {
  impl_->stash[{group_id, key}] = std::move(fd);
}

Fd FileRestorer::take(uint64_t group_id, const std::string& key) {
  auto found = impl_->stash.find({group_id, key});
  if (found == impl_->stash.end()) return Fd();
  Fd fd = std::move(found->second);
  impl_->stash.erase(found);
  return fd;
}

const schema::OpenFile* FileRestorer::record(uint32_t file_id) const {
  auto found = impl_->plan.image->files.find(file_id);
  return found == impl_->plan.image->files.end() ? nullptr : &found->second;
}

const std::vector<const schema::OpenFile*>& FileRestorer::members(uint64_t group_id) const {
  static const std::vector<const schema::OpenFile*> kNone;
  auto found = impl_->groups.find(group_id);
  return found == impl_->groups.end() ? kNone : found->second;
}

const RestoreRequest& FileRestorer::request() const { return impl_->request; }
const Image& FileRestorer::image() const { return *impl_->plan.image; }
const SharedMemoryObjects* FileRestorer::shared_memory() const { return impl_->shared_memory; }
void FileRestorer::set_namespaces(const NamespaceSet* namespaces) {
  impl_->namespaces = namespaces;
}
int FileRestorer::namespace_descriptor(const std::string& kind, uint32_t id) const {
  return impl_->namespaces == nullptr ? -1 : impl_->namespaces->descriptor(kind, id);
}
int FileRestorer::hidden(uint32_t file_id) const {
  return impl_->namespaces == nullptr ? -1 : impl_->namespaces->hidden(file_id);
}
const autofs::Open* FileRestorer::autofs(uint32_t mount_namespace, uint32_t file_system) const {
  return impl_->namespaces == nullptr ? nullptr
                                      : impl_->namespaces->autofs(mount_namespace, file_system);
}
Result<> FileRestorer::in_mount_namespace(uint32_t id, const schema::OpenFile& file,
                                          const std::function<Result<>()>& work) const {
  if (impl_->namespaces == nullptr || id == file.mount_namespace()) return work();
  TRY(impl_->namespaces->visit(schema::Namespace::kMnt, id));
  Result<> done = work();
  TRY(impl_->namespaces->visit(schema::Namespace::kMnt, file.mount_namespace()));
  return done;
}
Result<> FileRestorer::keep_for_caller(Fd master) {
  if (impl_->orphans == nullptr)
    return Error::unsupported("there is nobody to hand this terminal's other end to");
  Fd fd = TRY(move_above(std::move(master), impl_->plan.service_fd_base));
  TRY(impl_->orphans->add(impl_->opening, fd.get()));
  impl_->kept.push_back(std::move(fd));
  return {};
}
void FileRestorer::set_orphans(const tty::OrphanTerminals* orphans) { impl_->orphans = orphans; }
const tun::DeviceDesk* FileRestorer::devices() const { return impl_->devices; }
void FileRestorer::set_devices(const tun::DeviceDesk* devices) { impl_->devices = devices; }
void FileRestorer::set_shared_memory(const SharedMemoryObjects* objects) {
  impl_->shared_memory = objects;
}

}  // namespace ncr
