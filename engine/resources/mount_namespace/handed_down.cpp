// A copy of a mount namespace that another user namespace gets has all its mounts locked to their
// parents, and their attributes as they are (kernel: copy_mnt_ns, lock_mnt_tree). So the mounts
// that were locked are put together in a namespace of ours, which has nothing else, and the owner
// unshares it. There the first of each group of mounts that are locked to each other is copied with
// all of them: the copy is not locked to anything, and can go where it was. Root task.
#include "engine/resources/mount_namespace/handed_down.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/procfs.h"
#include "engine/resources/mount_namespace/covered_mounts.h"
#include "engine/resources/mount_namespace/locked_mounts.h"
#include "engine/resources/mount_namespace/mount_calls.h"

namespace ncr::mount_namespace {
namespace {

// Folders of the workshop.
constexpr const char* kLocked = "locked";
constexpr const char* kUnlocked = "unlocked";

// What lies below a folder, as seen from there.
Result<std::vector<MountLine>> table_below(const char* folder) {
  std::string text = TRY(procfs::read_file("thread-self/mountinfo"));
  std::vector<MountLine> below;
  for (MountLine& line : TRY(parse_mountinfo(text))) {
    std::string rest;
    if (!is_below(line.point, strf("/%s", folder), &rest)) continue;
    line.point = "/" + rest;
    below.push_back(std::move(line));
  }
  return below;
}

bool is_made_by_owner(const Placement& placement) {
  const MountSource::Kind kind = placement.source.kind;
  return placement.file_system->made_below() &&
         (kind == MountSource::Kind::kMade || kind == MountSource::Kind::kShared);
}

// One that is late is not reached again before it goes to its place.
uint64_t attributes_above(const Placement& placement) {
  const schema::Mount& mount = *placement.mount;
  return placement.late != 0 ? mount.attributes() : mount.attributes() & mount.locked_attributes();
}

}  // namespace

bool HandedDown::is_top(size_t index) const {
  const schema::Mount& mount = *plan_.placements[index].mount;
  return is_inherited(mount) && !mount.locked();
}

Result<> HandedDown::hand_down() {
  for (const char* folder : {kLocked, kUnlocked})
    TRY(SYSCALL(::mkdirat(sources_.workshop().get(), folder, 0755), "mkdir %s", folder));
  ids_.resize(plan_.placements.size());
  for (size_t i = 0; i < plan_.placements.size(); i++)
    TRY_WHILE(assemble(i), "mount %s", plan_.placements[i].mount->point().c_str());
  TRY(leave_callers_mounts());
  const std::vector<MountLine> before = TRY(table_below(kLocked));
  TRY(build_.hand_down());
  TRY(sources_.move_to_copy());
  TRY(unlock_tops());
  return find_locked(before);
}

Result<> HandedDown::assemble(size_t index) {
  const Placement& placement = plan_.placements[index];
  const bool is_there_later = placement.source.kind == MountSource::Kind::kTerminal ||
                              placement.file_system->pid_namespace() != 0;
  if (is_there_later || is_made_by_owner(placement)) return {};
  TRY(sources_.take(index));
  if (!is_inherited(*placement.mount)) return {};
  const Fd& mount = built_.mounts[index];
  TRY(set_attributes(mount, attributes_above(placement)));
  if (is_top(index)) {
    (void)TRY(sources_.place_in_workshop(strf("%s/%zu", kLocked, index), mount));
  } else {
    Fd point = TRY_WHILE(open_below(built_.mounts[placement.parent], placement.point),
                         "the place to mount at is not there");
    TRY(put_in_place(mount, point));
  }
  ids_[index] = TRY(mount_id_of(mount));
  return {};
}

// A caller whose root is no mount point cannot be moved away from: what it has mounted stays, out
// of reach.
Result<> HandedDown::leave_callers_mounts() {
  TRY(SYSCALL(::fchdir(sources_.workshop().get()), "enter the workshop"));
  if (SYSCALL(::syscall(SYS_pivot_root, ".", "."), "pivot_root").ok())
    TRY(SYSCALL(::umount2(".", MNT_DETACH), "unmount the old root"));
  TRY(SYSCALL(::chroot("."), "chroot to the workshop"));
  TRY(SYSCALL(::chdir("/"), "chdir /"));
  return {};
}

Result<> HandedDown::unlock_tops() {
  for (size_t i = 0; i < plan_.placements.size(); i++) {
    if (!is_top(i)) continue;
    Fd locked = TRY(
        sys::open_at(sources_.workshop(), strf("%s/%zu", kLocked, i).c_str(), O_PATH | O_NOFOLLOW));
    Fd copy = TRY(copy_mount_with_children(locked));
    (void)TRY(sources_.place_in_workshop(strf("%s/%zu", kUnlocked, i), copy));
    built_.mounts[i] = std::move(copy);
  }
  return {};
}

Result<> HandedDown::find_locked(const std::vector<MountLine>& before) {
  const std::vector<MountLine> after = TRY(table_below(kUnlocked));
  const std::map<uint32_t, const MountLine*> copies = match_tables(before, after);
  for (size_t i = 0; i < plan_.placements.size(); i++) {
    if (!plan_.placements[i].mount->locked()) continue;
    built_.mounts[i].close();
    auto copy = copies.find(ids_[i]);
    if (copy == copies.end()) continue;
    const std::string path = strf("/%s%s", kUnlocked, copy->second->point.c_str());
    Result<Fd> top = sys::open(path.c_str(), O_PATH | O_NOFOLLOW);
    if (top.ok() && TRY(mount_id_of(top.value())) == copy->second->id)
      built_.mounts[i] = top.take();
  }
  return {};
}

}  // namespace ncr::mount_namespace
