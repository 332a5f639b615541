// Making the namespaces of a tree, with nothing in them yet (root task). What belongs to a user
// namespace below that of the root is made in it, by a process beside the root.
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "engine/base/procfs.h"
#include "engine/resources/mount_namespace/proc_mounts.h"
#include "engine/resources/room.h"
#include "engine/resources/time_namespace/offsets.h"
#include "engine/tree/namespace_set.h"
#include "engine/tree/nested_users.h"
#include "engine/tree/side_process.h"

namespace ncr {
namespace {

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

}  // namespace

Result<> NamespaceSet::make_users() {
  const NamespaceRoom& room = *namespace_room_of(schema::Namespace::kUser);
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

Result<> NamespaceSet::make_one(const schema::Namespace& record) {
  const NamespaceRoom& room = *namespace_room_of(record.content_case());
  auto joined = joined_.find(record.id());
  if (joined != joined_.end()) {
    if (record.content_case() != schema::Namespace::kPid && in_use_by_root(record))
      TRY(enter_by(joined->second, room.kind));
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
  const NamespaceRoom& room = *namespace_room_of(record.content_case());
  switch (record.content_case()) {
    case schema::Namespace::kPid:  // others are made by the birth of their first process
      return in_use_by_root(record) ? keep(room.name, room.kind, record.id()) : Result<>();
    case schema::Namespace::kCgroup:  // shows the cgroup that one is in when it is made: see fill()
      return {};
    case schema::Namespace::kTime:
      // One that the tree did not have is a courtesy (CONFIG_TIME_NS may be off).
      if (record.inode() == 0 && kept_.count({room.kind, 0}) == 0) return {};
      TRY(time_namespace::unshare_from(record.time()));
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
  const Fd& workshop = workshops_[owner] = TRY(raised(std::move(anything)));
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
  given_roots_[record.id()] = TRY(raised(std::move(here)));
  return {};
}

Result<> NamespaceSet::make() {
  for (const auto& [kind, fd] : joined_besides_) {
    TRY(enter_by(fd, kind));
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
  return enter_own_of_root(*namespace_room_of(schema::Namespace::kNet));
}

}  // namespace ncr
