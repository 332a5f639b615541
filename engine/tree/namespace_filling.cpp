// What comes into the namespaces of a tree once they are made: what the coordinator brings from
// outside (bring()), and what the root task fills in.
#include <sched.h>
#include <unistd.h>

#include "engine/resources/mount_namespace/proc_mounts.h"
#include "engine/resources/room.h"
#include "engine/tree/namespace_set.h"
#include "engine/tree/nested_users.h"
#include "engine/tree/side_process.h"

namespace ncr {

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
    return enter_by(workshops_.at(owner), Kind::kMnt);
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
  if (record.has_mnt()) TRY(enter_own_of_root(*namespace_room_of(schema::Namespace::kIpc)));
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
  for (auto& [file, fd] : hidden) hidden_[file] = TRY(raised(std::move(fd)));
  for (auto& [id, open] : served) {
    open.top = TRY(raised(std::move(open.top)));
    open.device = TRY(raised(std::move(open.device)));
    autofs_[{record.id(), id}] = std::make_shared<autofs::Open>(std::move(open));
  }
  if (half_built != nullptr) half_built_[record.id()] = std::move(half_built);
  return {};
}

// It shows the cgroup that its maker is in.
Result<> NamespaceSet::make_cgroup(const schema::Namespace& record) {
  const uint32_t owner = users_.owner(record);
  auto make = [&]() -> Result<> {
    if (cgroups_ != nullptr) TRY(cgroups_->enter_root_of(record.cgroup()));
    if (owner != 0) TRY(enter_user_namespace(user_descriptor(owner), this->record(owner)->user()));
    TRY(SYSCALL(::unshare(CLONE_NEWCGROUP), "make a new cgroup namespace"));
    return keep(namespace_room_of(schema::Namespace::kCgroup)->name, schema::Namespace::kCgroup,
                record.id());
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
    const NamespaceRoom& room = *namespace_room_of(record.content_case());
    NamespaceBuild build = describe(record, room, content);
    build.kept = half_built.get();
    TRY(visit(room.kind, id));
    TRY_WHILE(room.finish(build, pid_namespace), "%s namespace %llu", room.name,
              static_cast<unsigned long long>(record.inode()));
    TRY(visit(room.kind, of(first, room.kind)));
  }
  return {};
}

}  // namespace ncr
