// Nothing tells which mounts are locked (MNT_LOCKED: to what they are mounted on) and which of
// their attributes (MNT_LOCK_*), so it is tried in a copy of the namespace, which has the same
// locks. A mount moved onto itself: EINVAL if it is locked, and else ELOOP (kernel: do_move_mount,
// since 5.2). An attribute that is locked cannot be taken away (can_change_locked_flags: EPERM).
// Access times are locked on everything that came from above, and on copies of that; on a procfs
// and a sysfs they are also where those may only be seen as they were (mount_too_revealing).
#include "engine/resources/mount_namespace/locked_mounts.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "engine/resources/mount_namespace/covered_mounts.h"
#include "engine/resources/mount_namespace/mount_calls.h"
#include "engine/resources/mount_namespace/throwaway_copy.h"

namespace ncr::mount_namespace {
namespace {

constexpr uint64_t kAccessTimes = MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME;
constexpr uint64_t kLockable[] = {MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV,
                                  MOUNT_ATTR_NOEXEC};

struct Locks {
  bool place = true;
  uint64_t attributes =
      kAccessTimes | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
};

bool is_movable(const Fd& mount) {
  Result<> moved = put_in_place(mount, mount);
  return !moved.ok() && moved.error().os_error() == ELOOP;
}

bool is_changeable(const Fd& mount, uint64_t take_away, uint64_t set) {
  mount_attr change{};
  change.attr_clr = take_away;
  change.attr_set = set;
  return SYSCALL(::mount_setattr(mount.get(), "", AT_EMPTY_PATH, &change, sizeof change),
                 "mount_setattr")
      .ok();
}

Locks try_locks(const Fd& mount, uint64_t attributes) {
  Locks locks{!is_movable(mount), 0};
  for (uint64_t attribute : kLockable)
    if ((attributes & attribute) != 0 && !is_changeable(mount, attribute, 0))
      locks.attributes |= attribute;
  const bool updates = (attributes & MOUNT_ATTR__ATIME) != MOUNT_ATTR_NOATIME;
  if (!is_changeable(mount, MOUNT_ATTR__ATIME,
                     updates ? MOUNT_ATTR_NOATIME : MOUNT_ATTR_STRICTATIME))
    locks.attributes |= kAccessTimes;
  return locks;
}

// Whether another mount can only be reached without this one.
bool hides_another(const std::vector<MountLine>& lines, const MountLine& mount) {
  return std::any_of(lines.begin(), lines.end(), [&](const MountLine& other) {
    const bool below_it = other.parent == mount.id;
    return other.id != mount.id && !below_it && is_below(other.point, mount.point);
  });
}

// By id in `lines`, of those that can be reached.
Result<std::map<uint32_t, Locks>> try_all(const std::vector<MountLine>& lines, const Fd& proc) {
  const auto [copy, originals] = TRY(read_copied_table(lines, proc));
  std::map<uint32_t, Locks> found;
  for (size_t index : order_of_removal(copy)) {
    const MountLine& line = copy[index];
    auto known = originals.find(line.id);
    Result<Fd> top = sys::open(line.point.c_str(), O_PATH | O_NOFOLLOW);
    if (!top.ok() || TRY(mount_id_of(top.value())) != line.id) continue;
    if (known != originals.end()) found[known->second] = try_locks(top.value(), line.attributes);
    if (line.point != "/" && hides_another(copy, line))
      (void)::umount2(line.point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  }
  return found;
}

bool is_covered_by_locked(const schema::MountNamespace& table, const schema::Mount& mount) {
  return std::any_of(table.mounts().begin(), table.mounts().end(), [&](const schema::Mount& other) {
    return other.parent() == mount.id() && other.point() == mount.point() && other.locked();
  });
}

}  // namespace

bool is_inherited(const schema::Mount& mount) {
  return mount.locked() || (mount.locked_attributes() & MOUNT_ATTR__ATIME) != 0;
}

void judge_locks(schema::MountNamespace* table, std::vector<Refusal>* refusals) {
  std::map<uint32_t, const schema::Mount*> by_id;
  std::set<uint32_t> from_above;
  for (schema::Mount& mount : *table->mutable_mounts()) {
    const auto& system = table->file_systems(static_cast<int>(mount.file_system()) - 1);
    // Made by the owner, and locked by the kernel as it is made.
    if (system.pid_namespace() != 0 && !mount.locked()) mount.set_locked_attributes(0);
    by_id[mount.id()] = &mount;
  }
  for (const schema::Mount& mount : table->mounts()) {
    const auto& system = table->file_systems(static_cast<int>(mount.file_system()) - 1);
    if (is_inherited(mount)) from_above.insert(mount.file_system());
    auto parent = by_id.find(mount.parent());
    std::string reason;
    if (parent != by_id.end() && is_covered_by_locked(*table, *parent->second) &&
        !(mount.locked() && is_inherited(*parent->second)))
      reason = "what it is mounted on is covered by a mount that is locked to it";
    else if (!mount.locked() && is_inherited(mount) && is_covered_by_locked(*table, mount))
      reason = "a mount that is locked to it covers it";
    else if (mount.locked() && (parent == by_id.end() || !is_inherited(*parent->second)))
      reason = "it is locked to a mount that is not locked itself";
    else if (mount.locked() && system.pid_namespace() != 0)
      reason = "it shows processes below those of the root of the tree, and is locked";
    if (!reason.empty())
      refusals->push_back(
          {strf("mount %s (%s)", mount.point().c_str(), system.type().c_str()),
           "the user namespace that its mount namespace belongs to got it from above: " + reason,
           "unmount it before the dump"});
  }
  for (schema::MountedFileSystem& system : *table->mutable_file_systems())
    system.set_made_below(system.origin() == schema::MountedFileSystem::MADE &&
                          !from_above.contains(system.id()) &&
                          (!is_view_of_kernel(system.type()) || system.type() == "devpts"));
}

void find_locks(const NamespaceProbe& probe, const std::vector<MountLine>& lines,
                schema::MountNamespace* table, std::vector<Refusal>* refusals) {
  Result<std::map<uint32_t, Locks>> found = Error(ErrorCode::kSystem, "nothing was tried");
  Result<> tried = in_throwaway_copy(probe.fd, probe.member.proc, [&]() -> Result<> {
    found = try_all(lines, probe.member.proc);
    return {};
  });
  if (!tried.ok() || !found.ok()) {
    const Error& error = tried.ok() ? found.error() : tried.error();
    refusals->push_back({"mount namespace",
                         "which of its mounts are locked cannot be found out: " + error.text(),
                         {}});
    return;
  }
  for (schema::Mount& mount : *table->mutable_mounts()) {
    auto known = found.value().find(mount.id());
    const Locks locks = known == found.value().end() ? Locks{} : known->second;
    mount.set_locked(locks.place && mount.parent() != 0);
    mount.set_locked_attributes(locks.attributes);
  }
  judge_locks(table, refusals);
}

}  // namespace ncr::mount_namespace
