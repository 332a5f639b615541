// A namespace lives as long as a task or a descriptor has it: what the root makes is gone with the
// root. clone3(2) makes the user and the pid namespace, unshare(2) the others, one at a time, each
// owned by the user namespace that the root is in. All mount namespaces are made before the first
// is filled, so that each begins as a copy of the caller's. create(), the maps and join_pid() run
// in the coordinator, everything else in tasks being born.
#include "engine/tree/namespace_set.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "engine/base/procfs.h"
#include "engine/resources/room.h"
#include "engine/tree/nested_users.h"
#include "engine/tree/side_process.h"

namespace ncr {

Result<NamespaceSet> NamespaceSet::create(const Image& image, const RestoreRequest& request,
                                          int fd_base) {
  NamespaceSet set;
  set.image_ = &image;
  set.request_ = &request;
  set.fd_base_ = fd_base;
  for (const schema::Namespace& record : image.namespaces) set.records_[record.id()] = &record;
  set.users_ = UserSpaces(image.namespaces, image.tasks.front());
  TRY(set.join_besides());
  if (set.empty()) return set;
  for (const schema::Namespace& record : image.namespaces) {
    const NamespaceRoom* room = namespace_room_of(record.content_case());
    if (room == nullptr)
      return Error::unsupported(
          strf("namespace %u is of a kind that this engine does not know", record.id()));
    Fd fd = TRY_WHILE(set.given(record), "%s namespace %llu", room->name,
                      static_cast<unsigned long long>(record.inode()));
    if (fd.valid()) set.joined_[record.id()] = TRY(set.raised(std::move(fd)));
    TRY_WHILE(set.take(record, *room), "%s namespace %llu", room->name,
              static_cast<unsigned long long>(record.inode()));
  }
  Fd root = TRY(sys::open("/", O_PATH | O_DIRECTORY));
  set.callers_root_ = TRY(set.raised(std::move(root)));
  // Whoever is not in a namespace of the image stays in, or comes back to, the caller's.
  for (const NamespaceRoom* room : namespace_rooms()) {
    Result<Fd> own = sys::open(strf("/proc/self/ns/%s", room->name).c_str(), O_RDONLY);
    if (own.ok()) set.kept_[{room->kind, 0}] = TRY(set.raised(own.take()));
  }
  // Where the root will have them, we know where to find them.
  for (const schema::Namespace* record : set.made_networks())
    TRY(set.keep_place(schema::Namespace::kNet, record->id()));
  return set;
}

Result<> NamespaceSet::take(const schema::Namespace& record, const NamespaceRoom& room) {
  const bool empty = record.empty() || (request_->empty_namespaces & room.clone_flag) != 0;
  if (room.take == nullptr || empty || joined_.count(record.id()) != 0) return {};
  std::vector<Fd> taken = TRY(room.take(*image_, *request_, record));
  for (Fd& fd : taken)
    if (fd.valid()) fd = TRY(raised(std::move(fd)));
  taken_[record.id()] = std::move(taken);
  return {};
}

Result<> NamespaceSet::join_besides() {
  for (const JoinedNamespace& joined : request_->joined) {
    const NamespaceRoom* room = nullptr;
    for (const NamespaceRoom* candidate : namespace_rooms())
      if (candidate->name == joined.kind) room = candidate;
    if (room == nullptr || room->kind == schema::Namespace::kCgroup)
      return Error::usage(
          strf("--join-ns %s: there is no joining namespaces of this kind", joined.kind.c_str()));
    if (of(image_->tasks[0], room->kind) != 0) continue;
    if (room->kind == schema::Namespace::kUser || room->kind == schema::Namespace::kPid)
      return Error::unsupported(
          strf("--join-ns %s: the tree was in no such namespace of its own", room->name));
    Fd fd = TRY(sys::open(joined.path.c_str(), O_RDONLY));
    joined_besides_[room->kind] = TRY(raised(std::move(fd)));
  }
  return {};
}

// What the caller gives in place of a namespace: a path (--join-ns) or a descriptor under the key.
Result<Fd> NamespaceSet::given(const schema::Namespace& record) const {
  const NamespaceRoom* room = namespace_room_of(record.content_case());
  for (const JoinedNamespace& joined : request_->joined)
    if (joined.kind == room->name && in_use_by_root(record))
      return sys::open(joined.path.c_str(), O_RDONLY);
  if (record.external_key().empty()) return Fd();
  for (const InheritedFd& inherited : request_->inherited)
    if (inherited.key == record.external_key())
      return Fd(
          TRY(SYSCALL(::fcntl(inherited.fd, F_DUPFD_CLOEXEC, fd_base_),
                      "the descriptor %d given for %s", inherited.fd, inherited.key.c_str())));
  for (const External& external : request_->externals)
    if (external.kind == room->name && external.object == record.external_key())
      return sys::open(external.value.c_str(), O_RDONLY);
  return Error::unsupported(
      strf("it was external at the dump: name what takes its place, --inherit-fd fd[N]:%s or "
           "--external %s[%s]:PATH",
           record.external_key().c_str(), room->name, record.external_key().c_str()));
}

Result<Fd> NamespaceSet::raised(Fd fd) const {
  return Fd(TRY(SYSCALL(::fcntl(fd.get(), F_DUPFD_CLOEXEC, fd_base_), "fcntl F_DUPFD_CLOEXEC")));
}

Result<> NamespaceSet::enter_by(const Fd& fd, Kind kind) {
  const NamespaceRoom& room = *namespace_room_of(kind);
  TRY(SYSCALL(::setns(fd.get(), static_cast<int>(room.clone_flag)), "setns into a %s namespace",
              room.name));
  return {};
}

const schema::Namespace* NamespaceSet::record(uint32_t id) const {
  auto found = records_.find(id);
  return found == records_.end() ? nullptr : found->second;
}

uint32_t NamespaceSet::of(const schema::Task& task, Kind kind) const {
  for (uint32_t id : task.namespaces()) {
    const schema::Namespace* found = record(id);
    if (found != nullptr && found->content_case() == kind) return id;
  }
  return 0;
}

bool NamespaceSet::in_use_by_root(const schema::Namespace& record) const {
  return of(image_->tasks[0], record.content_case()) == record.id();
}

bool NamespaceSet::renumbers() const { return of(image_->tasks[0], schema::Namespace::kPid) != 0; }

uint64_t NamespaceSet::root_clone_flags() const {
  uint64_t flags = 0;
  for (Kind kind : {schema::Namespace::kUser, schema::Namespace::kPid}) {
    uint32_t id = of(image_->tasks[0], kind);
    if (id != 0 && joined_.count(id) == 0) flags |= namespace_room_of(kind)->clone_flag;
  }
  return flags;
}

Result<> NamespaceSet::join_pid() const {
  auto joined = joined_.find(of(image_->tasks[0], schema::Namespace::kPid));
  if (joined == joined_.end()) return {};
  return enter_by(joined->second, Kind::kPid);
}

Result<> NamespaceSet::leave_pid() const {
  if (joined_.count(of(image_->tasks[0], schema::Namespace::kPid)) == 0) return {};
  return enter_by(kept_.at({Kind::kPid, 0}), Kind::kPid);
}

Result<> NamespaceSet::write_id_maps(pid_t root) const {
  uint32_t id = of(image_->tasks[0], schema::Namespace::kUser);
  if (id == 0 || joined_.count(id) != 0) return {};
  const Fd proc = TRY(sys::open(strf("/proc/%d", root).c_str(), O_PATH | O_DIRECTORY));
  return write_maps(proc, record(id)->user());
}

// Who made it beside us leaves it where we know to find it.
Result<> NamespaceSet::keep(const char* link, Kind kind, uint32_t id) {
  Fd fd = TRY(procfs::open(strf("self/ns/%s", link), O_RDONLY));
  if (auto place = kept_.find({kind, id}); place != kept_.end())
    TRY(SYSCALL(::dup3(fd.get(), place->second.get(), O_CLOEXEC), "dup3"));
  else
    kept_[{kind, id}] = TRY(raised(std::move(fd)));
  return {};
}

Result<> NamespaceSet::keep_place(Kind kind, uint32_t id) {
  if (kept_.contains({kind, id})) return {};
  Fd anything = TRY(sys::open("/", O_PATH | O_DIRECTORY));
  kept_[{kind, id}] = TRY(raised(std::move(anything)));
  return {};
}

int NamespaceSet::user_descriptor(uint32_t space) const {
  auto found = kept_.find({schema::Namespace::kUser, space});
  return space == 0 || found == kept_.end() ? -1 : found->second.get();
}

Result<> NamespaceSet::as_owner(uint32_t owner, const std::function<Result<>()>& work) const {
  return beside([&]() -> Result<> {
    TRY(enter_user_namespace(user_descriptor(owner), record(owner)->user()));
    return work();
  });
}

const autofs::Open* NamespaceSet::autofs(uint32_t id, uint32_t file_system) const {
  auto found = autofs_.find({id, file_system});
  return found == autofs_.end() ? nullptr : found->second.get();
}

int NamespaceSet::hidden(uint32_t file_id) const {
  auto found = hidden_.find(file_id);
  return found == hidden_.end() ? -1 : found->second.get();
}

// Whichever was made or filled last; what was made beside us we are not in.
Result<> NamespaceSet::enter_own_of_root(const NamespaceRoom& room) const {
  uint32_t last = 0;
  bool beside = false;
  for (const schema::Namespace& record : image_->namespaces) {
    if (record.content_case() != room.kind) continue;
    last = record.id();
    beside |= users_.owner(record) != 0;
  }
  const uint32_t own = of(image_->tasks[0], room.kind);
  return last == 0 || (last == own && !beside) ? Result<>() : visit(room.kind, own);
}

int NamespaceSet::descriptor(const std::string& kind, uint32_t id) const {
  for (const NamespaceRoom* room : namespace_rooms()) {
    if (room->name != kind) continue;
    auto found = kept_.find({room->kind, id});
    return found == kept_.end() ? -1 : found->second.get();
  }
  return -1;
}

Result<> NamespaceSet::visit(Kind kind, uint32_t id) const {
  auto found = kept_.find({kind, id});
  const NamespaceRoom* room = namespace_room_of(kind);
  if (found == kept_.end())
    return Error::malformed(strf("%s namespace %u was not made", room->name, id));
  Result<> entered = enter_by(found->second, kind);
  const bool callers_mounts = kind == schema::Namespace::kMnt && id == 0;
  if (entered.ok() || !callers_mounts || entered.error().os_error() != EPERM) return entered;
  // In a user namespace of its own nobody may enter the caller's, but names can be looked up there.
  TRY(SYSCALL(::fchdir(callers_root_.get()), "enter the caller's root"));
  TRY(SYSCALL(::chroot("."), "chroot to the caller's root"));
  return {};
}

Result<> NamespaceSet::go_down(uint32_t user) const {
  TRY(SYSCALL(::setns(user_descriptor(user), CLONE_NEWUSER), "setns into a user namespace"));
  TRY(SYSCALL(::prctl(PR_SET_DUMPABLE, 1), "prctl PR_SET_DUMPABLE"));
  return {};
}

Result<> NamespaceSet::enter(const schema::Task& task, const schema::Task& creator) const {
  for (const NamespaceRoom* room : namespace_rooms()) {
    // It was born there; into its user namespace it goes last (docs/adr/0018).
    if (room->kind == schema::Namespace::kPid || room->kind == schema::Namespace::kUser) continue;
    uint32_t mine = of(task, room->kind);
    if (mine != of(creator, room->kind)) TRY(visit(room->kind, mine));
  }
  return {};
}

}  // namespace ncr
