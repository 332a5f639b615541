// A namespace lives as long as a task or a descriptor has it: what the root makes is gone with the
// root. clone3(2) makes the user and the pid namespace, unshare(2) the others, one at a time, each
// owned by the user namespace that the root is in. All mount namespaces are made before the first
// is filled, so that each begins as a copy of the caller's. create(), the maps and join_pid() run
// in the coordinator, everything else in tasks being born.
#include "engine/tree/namespace_set.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <ctime>

#include "engine/base/procfs.h"
#include "engine/resources/mount_namespace/proc_mounts.h"
#include "engine/resources/room.h"
#include "engine/resources/time_namespace/offsets.h"
#include "engine/tree/nested_users.h"
#include "engine/tree/side_process.h"

namespace ncr {
namespace {

using Kind = schema::Namespace::ContentCase;

const NamespaceRoom* room_of(Kind kind) {
  for (const NamespaceRoom* room : namespace_rooms())
    if (room->kind == kind) return room;
  return nullptr;
}

Result<Fd> above(Fd fd, int base) {
  return Fd(TRY(SYSCALL(::fcntl(fd.get(), F_DUPFD_CLOEXEC, base), "fcntl F_DUPFD_CLOEXEC")));
}

Result<> enter_by(const Fd& fd, const NamespaceRoom& room) {
  TRY(SYSCALL(::setns(fd.get(), static_cast<int>(room.clone_flag)), "setns into a %s namespace",
              room.name));
  return {};
}

bool maps_zero(const schema::UserNamespace& user) {
  for (const schema::IdRange& range : user.uids())
    if (range.inside() == 0 && range.count() > 0) return true;
  return false;
}

// Until it has an id inside, what a task creates belongs to nobody there.
Result<> become_root_inside(const schema::UserNamespace& user) {
  if (!maps_zero(user)) return {};
  if (!user.setgroups_denied()) TRY(SYSCALL(::setgroups(0, nullptr), "setgroups"));
  TRY(SYSCALL(::setresgid(0, 0, 0), "setresgid to 0 of the user namespace"));
  TRY(SYSCALL(::setresuid(0, 0, 0), "setresuid to 0 of the user namespace"));
  // A change of ids takes /proc/self away from us.
  TRY(SYSCALL(::prctl(PR_SET_DUMPABLE, 1), "prctl PR_SET_DUMPABLE"));
  return {};
}

int64_t clock_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// timens_offsets takes seconds and a remainder that is never negative (time_namespaces(7)).
std::string offset_line(const char* clock, int64_t ns) {
  int64_t seconds = ns / 1'000'000'000;
  int64_t rest = ns % 1'000'000'000;
  if (rest < 0) {
    seconds--;
    rest += 1'000'000'000;
  }
  return strf("%s %lld %lld\n", clock, static_cast<long long>(seconds),
              static_cast<long long>(rest));
}

}  // namespace

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
    const NamespaceRoom* room = room_of(record.content_case());
    if (room == nullptr)
      return Error::unsupported(
          strf("namespace %u is of a kind that this engine does not know", record.id()));
    Fd fd = TRY_WHILE(set.given(record), "%s namespace %llu", room->name,
                      static_cast<unsigned long long>(record.inode()));
    if (fd.valid()) set.joined_[record.id()] = TRY(above(std::move(fd), fd_base));
    TRY_WHILE(set.take(record, *room), "%s namespace %llu", room->name,
              static_cast<unsigned long long>(record.inode()));
  }
  Fd root = TRY(sys::open("/", O_PATH | O_DIRECTORY));
  set.callers_root_ = TRY(above(std::move(root), fd_base));
  // Whoever is not in a namespace of the image stays in, or comes back to, the caller's.
  for (const NamespaceRoom* room : namespace_rooms()) {
    Result<Fd> own = sys::open(strf("/proc/self/ns/%s", room->name).c_str(), O_RDONLY);
    if (own.ok()) set.kept_[{room->kind, 0}] = TRY(above(own.take(), fd_base));
  }
  return set;
}

Result<> NamespaceSet::take(const schema::Namespace& record, const NamespaceRoom& room) {
  const bool empty = record.empty() || (request_->empty_namespaces & room.clone_flag) != 0;
  if (room.take == nullptr || empty || joined_.count(record.id()) != 0) return {};
  std::vector<Fd> taken = TRY(room.take(*image_, *request_, record));
  for (Fd& fd : taken)
    if (fd.valid()) fd = TRY(above(std::move(fd), fd_base_));
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
    joined_besides_[room->kind] = TRY(above(std::move(fd), fd_base_));
  }
  return {};
}

// What the caller gives in place of a namespace: a path (--join-ns) or a descriptor under the key.
Result<Fd> NamespaceSet::given(const schema::Namespace& record) const {
  const NamespaceRoom* room = room_of(record.content_case());
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
    if (id != 0 && joined_.count(id) == 0) flags |= room_of(kind)->clone_flag;
  }
  return flags;
}

Result<> NamespaceSet::join_pid() const {
  auto joined = joined_.find(of(image_->tasks[0], schema::Namespace::kPid));
  if (joined == joined_.end()) return {};
  return enter_by(joined->second, *room_of(schema::Namespace::kPid));
}

Result<> NamespaceSet::leave_pid() const {
  if (joined_.count(of(image_->tasks[0], schema::Namespace::kPid)) == 0) return {};
  return enter_by(kept_.at({schema::Namespace::kPid, 0}), *room_of(schema::Namespace::kPid));
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
    kept_[{kind, id}] = TRY(above(std::move(fd), fd_base_));
  return {};
}

Result<> NamespaceSet::keep_place(Kind kind, uint32_t id) {
  Fd anything = TRY(sys::open("/", O_PATH | O_DIRECTORY));
  kept_[{kind, id}] = TRY(above(std::move(anything), fd_base_));
  return {};
}

int NamespaceSet::user_descriptor(uint32_t space) const {
  auto found = kept_.find({schema::Namespace::kUser, space});
  return space == 0 || found == kept_.end() ? -1 : found->second.get();
}

Result<> NamespaceSet::make_users() {
  const NamespaceRoom& room = *room_of(schema::Namespace::kUser);
  for (uint32_t id : users_.in_order()) {
    const uint32_t above = users_.above(id);
    const OuterUser outer{user_descriptor(above), above == 0 ? nullptr : &record(above)->user()};
    TRY(keep_place(room.kind, id));
    TRY_WHILE(make_user_namespace(outer, record(id)->user(),
                                  [&] { return keep(room.name, room.kind, id); }),
              "user namespace %llu", static_cast<unsigned long long>(record(id)->inode()));
  }
  return {};
}

// What belongs to a user namespace below must be made in it.
Result<> NamespaceSet::make_beside(const schema::Namespace& record) {
  TRY(keep_place(record.content_case(), record.id()));
  return as_owner(users_.owner(record), [&] { return make_here(record); });
}

Result<> NamespaceSet::as_owner(uint32_t owner, const std::function<Result<>()>& work) const {
  return beside([&]() -> Result<> {
    TRY(enter_user_namespace(user_descriptor(owner), record(owner)->user()));
    return work();
  });
}

// A file system of its own has no files of users that it does not map.
Result<> NamespaceSet::as_owners_user(uint32_t owner, const std::function<Result<>()>& work) const {
  const schema::UserNamespace& user = record(owner)->user();
  const uint32_t first_uid = maps_zero(user) || user.uids().empty() ? 0 : user.uids(0).inside();
  const uint32_t first_gid = user.gids().empty() ? 0 : user.gids(0).inside();
  const std::optional<uint32_t> uid = users_.uid_of_root(owner, first_uid);
  const std::optional<uint32_t> gid = users_.gid_of_root(owner, first_gid);
  if (!uid || !gid) return work();
  const ActingAs acting = TRY(ActingAs::user(*uid, *gid));
  return work();
}

// What was ours until now becomes its own. Nobody else is in it yet.
Result<> NamespaceSet::hand_down(const schema::Namespace& record) {
  auto copy = [&]() -> Result<> {
    TRY(SYSCALL(::unshare(CLONE_NEWNS), "make a mnt namespace of a user namespace below"));
    return keep("mnt", schema::Namespace::kMnt, record.id());
  };
  TRY(as_owner(users_.owner(record), copy));
  return visit(schema::Namespace::kMnt, record.id());
}

// A process is in the time namespace that it was born in; only a single thread may change that, and
// only after the offsets were written (time_namespaces(7)). They count from the clocks of the
// machine, ours may be off by offsets of their own.
Result<> NamespaceSet::make_time(const schema::TimeNamespace& clocks) {
  const std::string text = TRY(procfs::read_file("self/timens_offsets"));
  const time_namespace::Offsets own = TRY(time_namespace::parse_offsets(text));
  TRY(SYSCALL(::unshare(CLONE_NEWTIME), "unshare CLONE_NEWTIME"));
  const std::string offsets =
      offset_line("monotonic",
                  clocks.monotonic_ns() - clock_ns(CLOCK_MONOTONIC) + own.monotonic_ns) +
      offset_line("boottime", clocks.boottime_ns() - clock_ns(CLOCK_BOOTTIME) + own.boottime_ns);
  Fd file = TRY(procfs::open("self/timens_offsets", O_WRONLY));
  return sys::write_all(file, offsets.data(), offsets.size());
}

Result<> NamespaceSet::make_one(const schema::Namespace& record) {
  const NamespaceRoom& room = *room_of(record.content_case());
  auto joined = joined_.find(record.id());
  if (joined != joined_.end()) {
    if (record.content_case() != schema::Namespace::kPid && in_use_by_root(record))
      TRY(enter_by(joined->second, room));
    int copy =
        TRY(SYSCALL(::fcntl(joined->second.get(), F_DUPFD_CLOEXEC, fd_base_), "F_DUPFD_CLOEXEC"));
    kept_[{room.kind, record.id()}] = Fd(copy);
    return {};
  }
  if (record.has_user()) {
    if (!in_use_by_root(record)) return {};
    TRY(become_root_inside(record.user()));
    return keep(room.name, room.kind, record.id());
  }
  const bool late = record.has_pid() || record.has_cgroup() ||
                    (record.has_mnt() && !record.empty());  // hand_down()
  return users_.owner(record) != 0 && !late ? make_beside(record) : make_here(record);
}

Result<> NamespaceSet::make_here(const schema::Namespace& record) {
  const NamespaceRoom& room = *room_of(record.content_case());
  switch (record.content_case()) {
    case schema::Namespace::kPid:  // others are made by the birth of their first process
      return in_use_by_root(record) ? keep(room.name, room.kind, record.id()) : Result<>();
    case schema::Namespace::kCgroup:  // shows the cgroup that one is in when it is made: see fill()
      return {};
    case schema::Namespace::kTime:
      // One that the tree did not have is a courtesy (CONFIG_TIME_NS may be off).
      if (record.inode() == 0 && kept_.count({room.kind, 0}) == 0) return {};
      TRY(make_time(record.time()));
      TRY(keep("time_for_children", room.kind, record.id()));
      return visit(room.kind, record.id());
    case schema::Namespace::kMnt:
      if (mount_namespace::has_late_mounts(record)) TRY(make_workshop(users_.owner(record)));
      TRY(SYSCALL(::unshare(CLONE_NEWNS), "make a new mnt namespace"));
      mount_tables_[record.id()] = TRY(procfs::read_file("self/mountinfo"));
      TRY(keep_given_root(record));
      return keep(room.name, room.kind, record.id());
    default:
      TRY(SYSCALL(::unshare(static_cast<int>(room.clone_flag)), "make a new %s namespace",
                  room.name));
      return keep(room.name, room.kind, record.id());
  }
}

// Before the first of the tree's is filled, so it is a copy of the caller's.
Result<> NamespaceSet::make_workshop(uint32_t owner) {
  if (workshops_.contains(owner)) return {};
  Fd anything = TRY(sys::open("/", O_PATH | O_DIRECTORY));
  const Fd& workshop = workshops_[owner] = TRY(above(std::move(anything), fd_base_));
  auto make = [&]() -> Result<> {
    TRY(SYSCALL(::unshare(CLONE_NEWNS), "make a mnt namespace to work in"));
    const Fd space = TRY(procfs::open("self/ns/mnt", O_RDONLY));
    TRY(SYSCALL(::dup3(space.get(), workshop.get(), O_CLOEXEC), "dup3"));
    return {};
  };
  return owner == 0 ? make() : as_owner(owner, make);
}

// A root that is given may lie where only we may go, and not who we are in a user namespace. A
// process's working directory moves with it into a new mount namespace.
Result<> NamespaceSet::go_to_given_root() const {
  if (request_->root.empty()) return {};
  for (const schema::Namespace& record : image_->namespaces)
    if (record.has_mnt() && !joined_.contains(record.id()))
      TRY(SYSCALL(::chdir(request_->root.c_str()), "enter the given root %s",
                  request_->root.c_str()));
  return {};
}

Result<> NamespaceSet::keep_given_root(const schema::Namespace& record) {
  if (request_->root.empty()) return {};
  Fd here = TRY(sys::open(".", O_PATH | O_DIRECTORY));
  given_roots_[record.id()] = TRY(above(std::move(here), fd_base_));
  return {};
}

Result<> NamespaceSet::make() {
  for (const auto& [kind, fd] : joined_besides_) {
    TRY(enter_by(fd, *room_of(kind)));
    // What was in, or named, the caller's own is in this one.
    kept_[{kind, 0}] =
        Fd(TRY(SYSCALL(::fcntl(fd.get(), F_DUPFD_CLOEXEC, fd_base_), "F_DUPFD_CLOEXEC")));
  }
  TRY(go_to_given_root());
  for (const NamespaceRoom* room : namespace_rooms()) {
    for (const schema::Namespace& record : image_->namespaces)
      if (record.content_case() == room->kind)
        TRY_WHILE(make_one(record), "%s namespace %llu", room->name,
                  static_cast<unsigned long long>(record.inode()));
    if (room->kind == schema::Namespace::kUser) TRY(make_users());
  }
  // Links are brought to where the root is.
  return enter_own_of_root(*room_of(schema::Namespace::kNet));
}

Result<> NamespaceSet::bring(const SharedMemoryObjects& content, pid_t root) const {
  for (const NamespaceRoom* room : namespace_rooms())
    for (const schema::Namespace& record : image_->namespaces) {
      const bool empty = record.empty() || (request_->empty_namespaces & room->clone_flag) != 0;
      if (record.content_case() != room->kind || room->bring == nullptr || empty ||
          joined_.count(record.id()) != 0)
        continue;
      TRY_WHILE(room->bring({*image_, *request_, content, record}, root), "%s namespace %llu",
                room->name, static_cast<unsigned long long>(record.inode()));
    }
  return {};
}

NamespaceBuild NamespaceSet::describe(const schema::Namespace& record, const NamespaceRoom& room,
                                      const SharedMemoryObjects& content) {
  NamespaceBuild build{*image_, *request_, content, record};
  build.enter_mounts = [this](uint32_t id) { return visit(schema::Namespace::kMnt, id); };
  build.descriptor = [this, &room](uint32_t id) {
    auto found = kept_.find({room.kind, id});
    return found == kept_.end() ? -1 : found->second.get();
  };
  build.any_descriptor = [this](const std::string& kind, uint32_t id) {
    return descriptor(kind, id);
  };
  const uint32_t owner = users_.owner(record);
  build.enter_workshop = [this, owner]() -> Result<> {
    return enter_by(workshops_.at(owner), *room_of(schema::Namespace::kMnt));
  };
  if (record.has_mnt() && owner != 0) {
    build.hand_down = [this, &record] { return hand_down(record); };
    build.as_owner = [this, owner](const std::function<Result<>()>& work) {
      return as_owner(owner, work);
    };
    build.as_owners_user = [this, owner](const std::function<Result<>()>& work) {
      return as_owners_user(owner, work);
    };
  }
  auto root = given_roots_.find(record.id());
  build.given_root = root == given_roots_.end() ? -1 : root->second.get();
  if (record.has_mnt()) build.mount_table = mount_tables_[record.id()];
  build.taken = &taken_[record.id()];
  build.fd_base = fd_base_;
  build.devices = devices_;
  return build;
}

Result<> NamespaceSet::build(const schema::Namespace& record, const NamespaceRoom& room,
                             const SharedMemoryObjects& content) {
  NamespaceBuild build = describe(record, room, content);
  std::map<uint32_t, Fd> hidden;
  std::unique_ptr<HalfBuilt> half_built;
  build.hidden = &hidden;
  build.half_built = &half_built;
  std::map<uint32_t, autofs::Open> served;
  build.autofs = &served;
  // Message queues that are mounted are those of the root's ipc namespace.
  if (record.has_mnt()) TRY(enter_own_of_root(*room_of(schema::Namespace::kIpc)));
  TRY(visit(room.kind, record.id()));
  {
    // Limits of ipc are files of number 0 of the user namespace, for no capability.
    const uint32_t space = users_.owner(record);
    const std::optional<uint32_t> owner = users_.uid_of_root(space, 0);
    std::optional<ActingAs> acting;
    if (space != 0 && record.has_ipc() && owner)
      acting.emplace(TRY(ActingAs::user(*owner, ::getegid())));
    TRY(room.build(build));
  }
  for (auto& [file, fd] : hidden) hidden_[file] = TRY(above(std::move(fd), fd_base_));
  for (auto& [id, open] : served) {
    open.top = TRY(above(std::move(open.top), fd_base_));
    open.device = TRY(above(std::move(open.device), fd_base_));
    autofs_[{record.id(), id}] = std::make_shared<autofs::Open>(std::move(open));
  }
  if (half_built != nullptr) half_built_[record.id()] = std::move(half_built);
  return {};
}

const autofs::Open* NamespaceSet::autofs(uint32_t id, uint32_t file_system) const {
  auto found = autofs_.find({id, file_system});
  return found == autofs_.end() ? nullptr : found->second.get();
}

int NamespaceSet::hidden(uint32_t file_id) const {
  auto found = hidden_.find(file_id);
  return found == hidden_.end() ? -1 : found->second.get();
}

// It shows the cgroup that its maker is in.
Result<> NamespaceSet::make_cgroup(const schema::Namespace& record) {
  const uint32_t owner = users_.owner(record);
  auto make = [&]() -> Result<> {
    if (cgroups_ != nullptr) TRY(cgroups_->enter_root_of(record.cgroup()));
    if (owner != 0) TRY(enter_user_namespace(user_descriptor(owner), this->record(owner)->user()));
    TRY(SYSCALL(::unshare(CLONE_NEWCGROUP), "make a new cgroup namespace"));
    return keep(room_of(schema::Namespace::kCgroup)->name, schema::Namespace::kCgroup, record.id());
  };
  if (owner == 0) return make();
  TRY(keep_place(schema::Namespace::kCgroup, record.id()));
  return beside(make);
}

Result<> NamespaceSet::fill(const SharedMemoryObjects& content) {
  for (const NamespaceRoom* room : namespace_rooms()) {
    for (const schema::Namespace& record : image_->namespaces) {
      if (record.content_case() != room->kind || joined_.count(record.id()) != 0) continue;
      if (room->kind == schema::Namespace::kCgroup) TRY(make_cgroup(record));
      if (room->build == nullptr) continue;
      TRY_WHILE(build(record, *room, content), "%s namespace %llu", room->name,
                static_cast<unsigned long long>(record.inode()));
    }
  }
  for (const NamespaceRoom* room : namespace_rooms())
    if (room->kind != schema::Namespace::kUser && room->kind != schema::Namespace::kPid)
      TRY(enter_own_of_root(*room));
  return {};
}

Result<> NamespaceSet::finish(uint32_t pid_namespace, const schema::Task& first,
                              const SharedMemoryObjects& content) {
  for (auto& [id, half_built] : half_built_) {
    const schema::Namespace& record = *records_.at(id);
    if (!mount_namespace::has_late_mounts(record, pid_namespace)) continue;
    const NamespaceRoom& room = *room_of(record.content_case());
    NamespaceBuild build = describe(record, room, content);
    build.kept = half_built.get();
    TRY(visit(room.kind, id));
    TRY_WHILE(room.finish(build, pid_namespace), "%s namespace %llu", room.name,
              static_cast<unsigned long long>(record.inode()));
    TRY(visit(room.kind, of(first, room.kind)));
  }
  return {};
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
  const NamespaceRoom* room = room_of(kind);
  if (found == kept_.end())
    return Error::malformed(strf("%s namespace %u was not made", room->name, id));
  Result<> entered = enter_by(found->second, *room);
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
