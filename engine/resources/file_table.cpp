// Open file descriptions (struct file) are shared by dup, fork and SCM_RIGHTS; userspace sees only
// descriptors. Two descriptors of one inode are one description or two, and kcmp(2) alone can tell:
// it also orders them, so that per inode a sorted list finds a description in log(n) calls. A
// forked child has mostly its parent's descriptors under the same numbers: one kcmp with the parent
// answers those. Runs in the engine; targets are only looked at.
#include "engine/resources/file_table.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <unistd.h>

#include <algorithm>
#include <tuple>
#include <unordered_map>

#include "engine/base/deleted_mark.h"
#include "engine/resources/fdinfo.h"
#include "engine/resources/file_lock/lease.h"
#include "engine/resources/tun/tun.h"
#include "engine/resources/unsupported.h"
#include "engine/tree/network_lock.h"

namespace ncr {
namespace {

// Where a description can be found again: a descriptor of a frozen task, or of ours.
struct Holder {
  pid_t pid;
  int number;
};

struct Known {
  Holder holder;
  uint32_t id;
};

// Device, inode, and for the one inode that all anonymous ones share, what they are.
using Key = std::tuple<uint64_t, uint64_t, std::string>;

Key key_of(const FdProbe& probe) {
  bool anonymous = probe.link.starts_with("anon_inode:");
  return {probe.stat.st_dev, probe.stat.st_ino, anonymous ? probe.link : std::string()};
}

Result<> take_info(const std::string& text, FdProbe& probe) {
  FdInfo info = TRY(parse_fdinfo(text));
  probe.fdinfo = text;
  probe.position = info.position;
  probe.flags = info.flags;
  probe.mount_id = info.mount_id;
  return {};
}

Result<FdProbe> open_probe(const Task& task, int number, const std::string& fdinfo) {
  FdProbe probe;
  probe.task = &task;
  probe.number = FdNumber{number};
  TRY(take_info(fdinfo, probe));
  probe.local = TRY(sys::pidfd_getfd(task.pidfd, number));
  TRY(SYSCALL(::fstat(probe.local.get(), &probe.stat), "fstat"));
  probe.link = TRY(sys::read_link_at(task.proc, strf("fd/%d", number).c_str()));
  return probe;
}

Result<FdProbe> open_local_probe(Fd fd) {
  FdProbe probe;
  probe.local = std::move(fd);
  Fd self = TRY(sys::open("/proc/self", O_PATH | O_DIRECTORY));
  std::string fdinfo = TRY(sys::read_file_at(self, strf("fdinfo/%d", probe.local.get()).c_str()));
  TRY(take_info(fdinfo, probe));
  TRY(SYSCALL(::fstat(probe.local.get(), &probe.stat), "fstat"));
  probe.link = TRY(sys::read_link_at(self, strf("fd/%d", probe.local.get()).c_str()));
  return probe;
}

const FdRoom* room_for(const FdProbe& probe) {
  for (const FdRoom* room : fd_rooms())
    if (room->recognises(probe)) return room;
  return nullptr;
}

// Who gets SIGIO (F_SETOWN, F_SETSIG). O_PATH descriptors have neither.
Result<> dump_owner(const FdProbe& probe, schema::OpenFile* record) {
  if ((probe.flags & O_PATH) != 0) return {};
  f_owner_ex owner{};
  TRY(SYSCALL(::fcntl(probe.local.get(), F_GETOWN_EX, &owner), "F_GETOWN_EX"));
  int signal = TRY(SYSCALL(::fcntl(probe.local.get(), F_GETSIG), "F_GETSIG"));
  if (owner.pid == 0 && signal == 0) return {};
  record->mutable_owner()->set_type(owner.type);
  record->mutable_owner()->set_pid(owner.pid);
  record->mutable_owner()->set_signal(signal);
  if (owner.pid == 0) return {};
  constexpr int kGetOwnerUids = 17;  // F_GETOWNER_UIDS of linux/fcntl.h
  uid_t ids[2] = {};
  TRY(SYSCALL(::fcntl(probe.local.get(), kGetOwnerUids, ids), "F_GETOWNER_UIDS"));
  record->mutable_owner()->set_uid(ids[0]);
  record->mutable_owner()->set_euid(ids[1]);
  return {};
}

void add_lock(const LockInfo& lock, schema::FileLock::Kind kind, schema::FileLock* record) {
  record->set_kind(kind);
  record->set_write(lock.write);
  record->set_start(lock.start);
  record->set_length(lock.end == ~uint64_t{0} ? 0 : lock.end - lock.start + 1);
}

Result<> dump_description_locks(const FdProbe& probe, schema::OpenFile* record) {
  std::vector<LockInfo> locks = TRY(parse_locks(probe.fdinfo));
  for (const LockInfo& lock : locks) {
    if (lock.kind == LockKind::kOpenFile)
      add_lock(lock, schema::FileLock::OPEN_FILE, record->add_locks());
    if (lock.kind == LockKind::kFlock) add_lock(lock, schema::FileLock::FLOCK, record->add_locks());
    if (lock.kind == LockKind::kLease)
      *record->mutable_lease() = file_lock::lease_of(lock, record->flags());
  }
  return {};
}

Result<> dump_process_locks(const std::string& fdinfo, schema::Descriptor* record) {
  if (fdinfo.find("lock:") == std::string::npos) return {};
  std::vector<LockInfo> locks = TRY(parse_locks(fdinfo));
  for (const LockInfo& lock : locks)
    if (lock.kind == LockKind::kPosix) add_lock(lock, schema::FileLock::POSIX, record->add_locks());
  return {};
}

// What stands in the way of this descriptor.
Result<> find_blockers(const FdProbe& probe, const FdRoom* room, Blockers& blockers) {
  std::string where = strf("fd %d", raw(probe.number));
  if (room == nullptr) {
    UnsupportedKind kind = unsupported_kind(probe);
    blockers.add(*probe.task,
                 strf("%s: %s (%s)", where.c_str(), kind.name.c_str(), probe.link.c_str()),
                 kind.reason, kind.way_out);
    return {};
  }
  if (room->preflight != nullptr)
    TRY_WHILE(room->preflight(probe, blockers), "%s", probe.where().c_str());
  return {};
}

int mount_of(const Fd& file) {
  struct statx status {};
  bool known = ::statx(file.get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &status) == 0 &&
               (status.stx_mask & STATX_MNT_ID) != 0;
  return known ? static_cast<int>(status.stx_mnt_id) : 0;
}

// A mapped file whose room has more to do once the tree may run again. Each keeps a descriptor.
struct Unfinished {
  const FdRoom* room;
  Fd fd;
  schema::OpenFile* record;
};
constexpr size_t kMostUnfinished = 64;

}  // namespace

struct FileTable::Impl {
  std::vector<std::unique_ptr<schema::OpenFile>> records;  // record of id N is records[N - 1]
  std::map<Key, std::vector<Known>> known;                 // in the order of kcmp
  std::vector<Holder> tables;  // one task per descriptor table, in the order of kcmp
  std::map<pid_t, std::map<int, uint32_t>> numbers;
  std::unordered_map<pid_t, const Task*> tasks;  // by pid, those that have an entry in numbers
  std::map<std::tuple<uint64_t, uint64_t, uint32_t>, uint32_t> mapped;
  std::vector<Fd> kept;  // descriptions that no task has: held so that kcmp finds them
  std::vector<Unfinished> unfinished;
  SharedMemoryTable* shared_memory = nullptr;
  Connections* connections = nullptr;
  MountViews views;
  const MountView* view = &views.own();  // of the task that was added last
  uint32_t mount_namespace = 0;
  std::map<const MountView*, uint32_t> spaces;  // ids of mount namespaces; the engine's is 0
  Refer refer;                                  // empty: all namespaces are the engine's

  Result<> note_namespaces(const FdProbe& probe, schema::OpenFile* record) const;
  // The place of `holder` in `list`, and whether it is there already.
  template <class T, class ToHolder>
  static Result<std::pair<size_t, bool>> place(const std::vector<T>& list, Holder holder, int type,
                                               ToHolder to_holder);
  Result<uint32_t> intern(FileTable& table, FdProbe probe, Holder holder, Blockers* blockers);
  Result<uint32_t> intern_number(FileTable& table, const Task& task, int number,
                                 const std::string& fdinfo, Blockers* blockers);
  uint32_t same_as_parent(const Task& task, int number);
  void choose_view(FdProbe& probe) const {
    probe.view = views.with_mount(probe.mount_id, view);
    probe.views = &views;
  }
  uint32_t space_of(const FdProbe& probe) const {
    return probe.view == nullptr ? mount_namespace : space_of(probe.view);
  }
  uint32_t space_of(const MountView* seen) const {
    if (seen == view) return mount_namespace;
    auto found = spaces.find(seen);
    return found == spaces.end() ? 0 : found->second;
  }
};

template <class T, class ToHolder>
Result<std::pair<size_t, bool>> FileTable::Impl::place(const std::vector<T>& list, Holder holder,
                                                       int type, ToHolder to_holder) {
  size_t low = 0;
  size_t high = list.size();
  while (low < high) {
    size_t middle = (low + high) / 2;
    Holder other = to_holder(list[middle]);
    int order =
        TRY(sys::kcmp(holder.pid, other.pid, type, static_cast<unsigned long>(holder.number),
                      static_cast<unsigned long>(other.number)));
    if (order == 0) return std::pair{middle, true};
    if (order == 1)
      high = middle;
    else
      low = middle + 1;
  }
  return std::pair{low, false};
}

Result<> FileTable::Impl::note_namespaces(const FdProbe& probe, schema::OpenFile* record) const {
  record->set_mount_namespace(space_of(probe));
  const bool is_tun = tun::recognises(probe);
  if (!refer || (!S_ISSOCK(probe.stat.st_mode) && !is_tun)) return {};
  Result<Fd> its = is_tun ? tun::net_namespace_of(probe.local) : net_namespace_of(probe.local);
  // Without rights over it nobody could make a socket there: it is the engine's own.
  if (!its.ok() && its.error().os_error() == EPERM) return {};
  Fd space = TRY(std::move(its));
  record->set_net_namespace(TRY(refer(space, probe.where())));
  return {};
}

// 0 if it has to be looked at.
uint32_t FileTable::Impl::same_as_parent(const Task& task, int number) {
  auto parent = numbers.find(task.ppid);
  if (parent == numbers.end()) return 0;
  auto candidate = parent->second.find(number);
  if (candidate == parent->second.end()) return 0;
  auto index = static_cast<unsigned long>(number);
  Result<int> order = sys::kcmp(task.pid, task.ppid, KCMP_FILE, index, index);
  return order.ok() && order.value() == 0 ? candidate->second : 0;
}

// The id is given before the room dumps the file: a socket may be in flight inside itself.
Result<uint32_t> FileTable::Impl::intern(FileTable& table, FdProbe probe, Holder holder,
                                         Blockers* blockers) {
  std::vector<Known>& list = known[key_of(probe)];
  auto [index, found] =
      TRY(place(list, holder, KCMP_FILE, [](const Known& entry) { return entry.holder; }));
  if (found) return list[index].id;
  const FdRoom* room = room_for(probe);
  if (blockers != nullptr && probe.task != nullptr) {
    size_t before = blockers->list().size();
    TRY(find_blockers(probe, room, *blockers));
    if (blockers->list().size() != before) return 0;
  }
  if (room == nullptr) {
    UnsupportedKind kind = unsupported_kind(probe);
    return Error::unsupported(
        strf("%s is a %s: %s", probe.where().c_str(), kind.name.c_str(), kind.reason.c_str()));
  }
  auto id = static_cast<uint32_t>(records.size() + 1);
  records.push_back(std::make_unique<schema::OpenFile>());
  list.insert(list.begin() + static_cast<ptrdiff_t>(index), {holder, id});
  schema::OpenFile* record = records.back().get();
  record->set_id(id);
  record->set_flags(probe.flags);
  record->set_path(probe.link);
  TRY_WHILE(note_namespaces(probe, record), "%s", probe.where().c_str());
  TRY_WHILE(dump_owner(probe, record), "%s", probe.where().c_str());
  TRY_WHILE(dump_description_locks(probe, record), "%s", probe.where().c_str());
  TRY_WHILE(room->dump(table, probe, record), "%s: %s", probe.where().c_str(), room->name);
  if (probe.task == nullptr) kept.push_back(std::move(probe.local));
  return id;
}

Result<uint32_t> FileTable::Impl::intern_number(FileTable& table, const Task& task, int number,
                                                const std::string& fdinfo, Blockers* blockers) {
  auto known_number = numbers[task.pid].find(number);
  if (known_number != numbers[task.pid].end()) return known_number->second;
  uint32_t id = same_as_parent(task, number);
  if (id == 0) {
    FdProbe probe = TRY_WHILE(open_probe(task, number, fdinfo), "fd %d", number);
    choose_view(probe);
    id = TRY(intern(table, std::move(probe), {task.pid, number}, blockers));
  }
  if (id == 0) return id;
  numbers[task.pid][number] = id;
  tasks[task.pid] = &task;
  return id;
}

FileTable::FileTable() : impl_(std::make_unique<Impl>()) {}
FileTable::FileTable(FileTable&&) noexcept = default;
FileTable& FileTable::operator=(FileTable&&) noexcept = default;
FileTable::~FileTable() = default;

void FileTable::store_content_in(SharedMemoryTable& shared_memory) {
  impl_->shared_memory = &shared_memory;
}
SharedMemoryTable* FileTable::shared_memory() const { return impl_->shared_memory; }
void FileTable::note_connections_in(Connections& connections) { impl_->connections = &connections; }
Connections* FileTable::connections() const { return impl_->connections; }

Result<> FileTable::add_task(const Task& task, const std::vector<int>& skip, schema::Task* record,
                             Blockers* blockers) {
  if (!task.alive()) return {};
  impl_->view = TRY(impl_->views.of(task));
  impl_->spaces[impl_->view] = impl_->mount_namespace;
  Holder self{task.pid, 0};
  auto [index, shared] =
      TRY(Impl::place(impl_->tables, self, KCMP_FILES, [](const Holder& entry) { return entry; }));
  if (shared) {
    record->set_files_shared_with(impl_->tables[index].pid);
    return {};
  }
  impl_->tables.insert(impl_->tables.begin() + static_cast<ptrdiff_t>(index), self);
  for (const auto& [number, fdinfo] : *TRY(task.descriptors())) {
    if (std::find(skip.begin(), skip.end(), number) != skip.end()) continue;
    FdInfo info = TRY_WHILE(parse_fdinfo(fdinfo), "fd %d", number);
    uint32_t id = TRY(impl_->intern_number(*this, task, number, fdinfo, blockers));
    if (id == 0) continue;
    schema::Descriptor* descriptor = record->add_descriptors();
    descriptor->set_number(number);
    descriptor->set_file_id(id);
    descriptor->set_close_on_exec(info.close_on_exec);
    TRY_WHILE(dump_process_locks(fdinfo, descriptor), "fd %d", number);
  }
  return {};
}

Result<> FileTable::know_mounts(const Task& member, uint32_t id) {
  impl_->spaces[TRY(impl_->views.of(member))] = id;
  return {};
}

uint32_t FileTable::mount_namespace_of(const MountView* view) const {
  return impl_->space_of(view);
}
void FileTable::set_mount_namespace(uint32_t id) { impl_->mount_namespace = id; }
void FileTable::set_namespaces(Refer refer) { impl_->refer = std::move(refer); }
Result<uint32_t> FileTable::namespace_of(const Fd& nsfs, const std::string& where) const {
  return impl_->refer ? impl_->refer(nsfs, where) : Result<uint32_t>(0);
}

Result<uint32_t> FileTable::add_local(Fd fd) {
  FdProbe probe = TRY(open_local_probe(std::move(fd)));
  impl_->choose_view(probe);
  Holder holder{::getpid(), probe.local.get()};
  return impl_->intern(*this, std::move(probe), holder, nullptr);
}

Result<uint32_t> FileTable::id_of(const Task& task, FdNumber number) {
  std::string fdinfo = TRY(sys::read_file_at(task.proc, strf("fdinfo/%d", raw(number)).c_str()));
  return impl_->intern_number(*this, task, raw(number), fdinfo, nullptr);
}

Result<uint32_t> FileTable::add_mapped(Fd opened, const std::string& path, bool deleted,
                                       uint32_t flags) {
  FdProbe probe;
  TRY(SYSCALL(::fstat(opened.get(), &probe.stat), "fstat %s", path.c_str()));
  auto [entry, is_new] =
      impl_->mapped.try_emplace({probe.stat.st_dev, probe.stat.st_ino, flags & O_ACCMODE}, 0);
  if (!is_new) return entry->second;
  probe.local = std::move(opened);
  probe.link = deleted ? path + std::string(kDeletedMark) : path;
  probe.flags = flags;
  probe.mount_id = mount_of(probe.local);
  impl_->choose_view(probe);
  const FdRoom* room = room_for(probe);
  if (room == nullptr) {
    UnsupportedKind kind = unsupported_kind(probe);
    return Error::unsupported(
        strf("%s is a %s: %s", path.c_str(), kind.name.c_str(), kind.reason.c_str()));
  }
  auto id = static_cast<uint32_t>(impl_->records.size() + 1);
  impl_->records.push_back(std::make_unique<schema::OpenFile>());
  schema::OpenFile* record = impl_->records.back().get();
  record->set_id(id);
  record->set_flags(flags);
  record->set_path(probe.link);
  record->set_mount_namespace(impl_->space_of(probe));
  TRY_WHILE(room->dump(*this, probe, record), "mapped file %s: %s", path.c_str(), room->name);
  entry->second = id;
  if (room->finish == nullptr) return id;
  impl_->unfinished.push_back({room, std::move(probe.local), record});
  if (impl_->unfinished.size() > kMostUnfinished) TRY(finish());
  return id;
}

Result<> FileTable::finish() {
  for (const Unfinished& file : impl_->unfinished)
    TRY_WHILE(file.room->finish(file.fd, file.record), "%s", file.record->path().c_str());
  impl_->unfinished.clear();
  return {};
}

Result<> FileTable::check(const DumpRequest& request, Blockers& blockers) const {
  std::vector<SeenFile> all;
  std::vector<bool> held(impl_->records.size() + 1);
  for (const auto& [pid, table] : impl_->numbers)
    for (const auto& [number, id] : table) {
      all.push_back({impl_->records[id - 1].get(), impl_->tasks.at(pid), FdNumber{number}});
      held[id] = true;
    }
  for (const auto& record : impl_->records)
    if (!held[record->id()]) all.push_back({record.get(), nullptr, FdNumber{-1}});
  for (const FdRoom* room : fd_rooms())
    if (room->check != nullptr) TRY_WHILE(room->check(all, request, blockers), "%s", room->name);
  return {};
}

Result<uint32_t> FileTable::find(uint64_t device, uint64_t inode, const IsTarget& is_target) const {
  for (const auto& [key, list] : impl_->known) {
    if (kernel_device(std::get<0>(key)) != device || std::get<1>(key) != inode) continue;
    for (const Known& entry : list)
      if (TRY(is_target(entry.holder.pid, entry.holder.number))) return entry.id;
  }
  return uint32_t{0};
}

std::vector<schema::OpenFile*> FileTable::finished_records() {
  std::vector<schema::OpenFile*> list;
  for (const auto& record : impl_->records) list.push_back(record.get());
  return list;
}

std::vector<const schema::OpenFile*> FileTable::records() const {
  std::vector<const schema::OpenFile*> list;
  for (const auto& record : impl_->records) list.push_back(record.get());
  return list;
}

}  // namespace ncr
