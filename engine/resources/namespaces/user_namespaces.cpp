// User namespaces (docs/adr/0018): each lies in the one it was made in, up to that of the tree's
// root, and every other namespace belongs to one. Those on the way need not have a task in them: a
// program that unshares twice leaves one behind. Runs in the engine.
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "engine/base/sys.h"
#include "engine/resources/namespaces/namespaces.h"
#include "engine/resources/room.h"
#include "engine/resources/user_namespace/id_map.h"
#include "engine/resources/user_namespace/user_namespace.h"

namespace ncr::namespaces {
namespace {

using Kind = schema::Namespace::ContentCase;

const NamespaceRoom& user_room() {
  for (const NamespaceRoom* room : namespace_rooms())
    if (room->kind == Kind::kUser) return *room;
  std::abort();
}

Result<uint64_t> inode_of_file(const Fd& nsfs) {
  struct stat status {};
  TRY(SYSCALL(::fstat(nsfs.get(), &status), "fstat of a namespace"));
  return status.st_ino;
}

// Lines that the one above does not map cannot be: a damaged record is refused at the restore.
void number_as_above(const user_namespace::IdRanges& above, user_namespace::IdRanges* ranges) {
  for (schema::IdRange& range : *ranges)
    range.set_outside(user_namespace::inside(above, range.outside()).value_or(range.outside()));
}

}  // namespace

uint64_t NamespaceTable::engines(Kind kind) const {
  for (const NamespaceRoom* room : namespace_rooms())
    if (auto own = own_.find(room->name); room->kind == kind && own != own_.end())
      return namespaces::inode_of(own->second);
  return 0;
}

Result<uint32_t> NamespaceTable::id_of_user(Fd nsfs) {
  const uint64_t inode = TRY(inode_of_file(nsfs));
  if (inode == engines(Kind::kUser)) return 0;
  if (uint32_t id = find(Kind::kUser, inode); id != 0) return id;
  const uint32_t id = add(user_room(), inode);
  members_.push_back(0);
  empty_users_[id] = std::move(nsfs);
  return id;
}

Result<bool> NamespaceTable::is_in_tree(const Fd& user) const {
  const uint32_t of_root = of(0, Kind::kUser);
  Fd at(TRY(SYSCALL(::fcntl(user.get(), F_DUPFD_CLOEXEC, 0), "fcntl F_DUPFD_CLOEXEC")));
  while (at.valid()) {
    const uint64_t inode = TRY(inode_of_file(at));
    if (of_root != 0 && records_[of_root - 1].inode() == inode) return true;
    if (inode == engines(Kind::kUser)) return of_root == 0;
    at = TRY(user_namespace::above(at));
  }
  return false;
}

// One that belongs to a user namespace above that of the root belongs to the root's afterwards.
Result<bool> NamespaceTable::note_owner(const Fd& nsfs, size_t index) {
  Result<int> owner = SYSCALL(::ioctl(nsfs.get(), NS_GET_USERNS), "NS_GET_USERNS");
  if (!owner.ok()) return false;  // it lies outside what we may see
  Fd user(owner.value());
  if (!TRY(is_in_tree(user))) return false;
  const uint32_t id = TRY(id_of_user(std::move(user)));
  records_[index].set_owner(id);
  return true;
}

Result<> NamespaceTable::look_at_users(const std::vector<Task>& tasks) {
  for (; users_seen_ < records_.size(); users_seen_++)
    if (records_[users_seen_].has_user()) TRY(look_at_user(tasks, users_seen_));
  return {};
}

Result<> NamespaceTable::look_at_user(const std::vector<Task>& tasks, size_t index) {
  const uint32_t id = records_[index].id();
  const uint32_t of_root = of(0, Kind::kUser);
  auto empty = empty_users_.find(id);
  Fd opened;
  schema::UserNamespace user;
  if (empty == empty_users_.end()) {
    const Task& member = tasks[members_[index]];
    TRY_WHILE(user_namespace::read_maps(member.proc, &user), "user namespace of task %d",
              member.pid);
    opened = TRY(sys::open_at(member.proc, "ns/user", O_RDONLY));
  } else {
    TRY_WHILE(user_namespace::read_maps_of_deserted(empty->second, &user), "user namespace %llu",
              static_cast<unsigned long long>(records_[index].inode()));
  }
  const Fd& nsfs = empty == empty_users_.end() ? opened : empty->second;
  Result<uint32_t> owner = user_namespace::owner_of(nsfs);
  if (owner.ok()) user.set_owner_uid(owner.value());
  *records_[index].mutable_user() = std::move(user);
  if (id == of_root) return {};
  Fd above = TRY(user_namespace::above(nsfs));
  const bool top = !above.valid() || TRY(inode_of_file(above)) == engines(Kind::kUser);
  if (top) {
    if (of_root != 0 || !above.valid()) stray_users_.push_back(id);
    return {};
  }
  const uint32_t parent = TRY(id_of_user(std::move(above)));  // may move the records
  records_[index].set_parent(parent);
  return {};
}

bool NamespaceTable::is_nested_user(uint32_t id) const {
  return id != 0 && id != of(0, Kind::kUser);
}

// A restored root could not send anybody up, or beside it.
void NamespaceTable::check_users(const std::vector<Task>& tasks, Blockers& blockers) const {
  const char* reason = "it is not below that of the root of the tree";
  for (uint32_t id : stray_users_) blockers.add(tasks[members_[id - 1]], "user namespace", reason);
  for (size_t i = 0; i < tasks.size(); i++)
    if (tasks[i].alive() && of(0, Kind::kUser) != 0 && of(i, Kind::kUser) == 0)
      blockers.add(tasks[i], "user namespace", reason);
  for (const schema::Namespace& record : records_) {
    const bool nested = record.has_user() && is_nested_user(record.id());
    if (nested && !record.external_key().empty())
      blockers.add(tasks[members_[record.id() - 1]], "user namespace",
                   "one that is not that of the root of the tree cannot be external");
  }
}

void NamespaceTable::number_users_as_above() {
  std::vector<schema::Namespace> before = records_;
  for (schema::Namespace& record : records_) {
    if (!record.has_user() || record.parent() == 0) continue;
    const schema::UserNamespace& above = before[record.parent() - 1].user();
    schema::UserNamespace* user = record.mutable_user();
    number_as_above(above.uids(), user->mutable_uids());
    number_as_above(above.gids(), user->mutable_gids());
    user->set_owner_uid(
        user_namespace::inside(above.uids(), user->owner_uid()).value_or(user->owner_uid()));
  }
}

}  // namespace ncr::namespaces
