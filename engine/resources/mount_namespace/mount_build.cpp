// Runs in the root task. The new tree grows in the workshop (mount_sources.h). In the end its root
// becomes the namespace's, and the old root with all on top of it is dropped.
#include "engine/resources/mount_namespace/mount_build.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <unordered_map>

#include "engine/resources/mount_namespace/handed_down.h"
#include "engine/resources/mount_namespace/kept_tree.h"
#include "engine/resources/mount_namespace/locked_mounts.h"
#include "engine/resources/mount_namespace/mount_calls.h"
#include "engine/resources/mount_namespace/mount_sources.h"

namespace ncr::mount_namespace {
namespace {

class Builder {
 public:
  Builder(const NamespaceBuild& build, const MountPlan& plan, const std::vector<MountLine>& own)
      : build_(build),
        plan_(plan),
        own_(own),
        sources_(build, plan, own, built_),
        needed_(plan.placements.size()) {
    needed_[0] = true;
    for (const Placement& placement : plan_.placements) {
      needed_[placement.parent] = true;
      if (placement.source.kind == MountSource::Kind::kMount)
        needed_[placement.source.index] = true;
    }
    for (const Spread& spread : plan_.spreads) {
      needed_[spread.placement] = true;
      if (spread.kind == Spread::Kind::kJoin) needed_[spread.from] = true;
    }
    if (build.hidden == nullptr) return;
    for (const auto& [id, file] : build.image.files)
      if (file.regular_file().hidden_mount() != 0 && file.mount_namespace() == build.record.id())
        hidden_.emplace(file.regular_file().hidden_mount(), &file);
  }

  Result<> build() {
    TRY(sources_.take_from_outside());
    if (belongs_below()) TRY(HandedDown(build_, plan_, sources_, built_).hand_down());
    for (size_t i = 0; i < plan_.placements.size(); i++)
      TRY_WHILE(place(i), "mount %s", plan_.placements[i].mount->point().c_str());
    for (const Spread& spread : plan_.spreads)
      if (!is_late(plan_, spread))
        TRY_WHILE(apply(spread, built_), "mount %s",
                  plan_.placements[spread.placement].mount->point().c_str());
    sources_.remove_names();
    TRY(enter());
    return leave_late_mounts();
  }

 private:
  // It belongs to a user namespace below ours.
  bool belongs_below() const { return build_.hand_down != nullptr; }
  bool was_handed_down(size_t index) const {
    return belongs_below() && is_inherited(*plan_.placements[index].mount);
  }

  // A mount that is in the tree already, because that was copied as a whole.
  Result<bool> find_kept(size_t index) {
    const Placement& placement = plan_.placements[index];
    if (!sources_.keeps_tree() || index == 0 || placement.source.kind != MountSource::Kind::kHost)
      return false;
    const MountLine& line = own_[placement.source.index];
    if (!TRY(kept_.find(mounts_[0], placement.mount->point(), line.device, placement.mount->root(),
                        &mounts_[index])))
      return false;
    if (!mounts_[index].valid()) return true;
    TRY(MountSources::part(placement, mounts_[index]));
    TRY(set_attributes(mounts_[index], placement.mount->attributes()));
    return true;
  }

  // While nothing is mounted on it yet.
  Result<> keep_hidden(size_t index) {
    auto [first, last] = hidden_.equal_range(plan_.placements[index].mount->id());
    for (auto file = first; file != last; ++file) {
      const schema::RegularFile& wanted = file->second->regular_file();
      Result<Fd> kept = open_below(mounts_[index], wanted.hidden_path());
      if (!kept.ok() && wanted.has_ghost()) continue;
      (*build_.hidden)[file->second->id()] =
          TRY_WHILE(std::move(kept), "a file that other mounts hide");
    }
    return {};
  }

  Result<> take(size_t index) {
    return belongs_below() && mounts_[index].valid() ? Result<>() : sources_.take(index);
  }

  // All but a procfs is there already. What was handed down is in the workshop, which goes away.
  Result<> prepare_late(size_t index) {
    const Placement& placement = plan_.placements[index];
    if (was_handed_down(index)) {
      Fd there = std::move(mounts_[index]);
      if (!placement.mount->locked()) mounts_[index] = TRY(copy_mount_with_children(there));
    } else if (placement.file_system->pid_namespace() == 0) {
      TRY(take(index));
      TRY(set_attributes(mounts_[index], placement.mount->attributes()));
    }
    if (plan_.placements[placement.parent].late == 0)
      built_.points[index] = TRY_WHILE(open_below(mounts_[placement.parent], placement.point),
                                       "the place to mount at is not there");
    return {};
  }

  Result<> leave_late_mounts() {
    if (!TRY(built_.keep_for_later(plan_, build_.fd_base))) return {};
    if (build_.half_built == nullptr) return Error::unsupported("nobody finishes its mounts");
    *build_.half_built = std::make_unique<BuiltMounts>(std::move(built_));
    return {};
  }

  // It is where it was; what another mount covers nobody can reach.
  Result<> finish_locked(size_t index) {
    if (!mounts_[index].valid()) return {};
    TRY(set_attributes(mounts_[index], plan_.placements[index].mount->attributes()));
    return keep_hidden(index);
  }

  Result<Fd> open_point(const Placement& placement) const {
    const Fd& parent = mounts_[placement.parent];
    const bool asks = plan_.placements[placement.parent].file_system->has_autofs();
    return asks ? open_below_autofs(parent, placement.point) : open_below(parent, placement.point);
  }

  Result<> place(size_t index) {
    const Placement& placement = plan_.placements[index];
    if (placement.source.kind == MountSource::Kind::kTerminal) return {};
    if (placement.late != 0) return prepare_late(index);
    if (belongs_below() && placement.mount->locked()) return finish_locked(index);
    if (TRY(find_kept(index))) return {};
    TRY(take(index));
    TRY(set_attributes(mounts_[index], placement.mount->attributes()));
    if (index == 0) {
      (void)TRY(sources_.place_in_workshop("root", mounts_[0]));
      if (sources_.keeps_tree()) kept_ = TRY(KeptTree::read(mounts_[0]));
      return keep_hidden(index);
    }
    if (!mounts_[placement.parent].valid())
      return Error::unsupported("what it is mounted on is covered, and locked");
    Fd point = TRY_WHILE(open_point(placement), "the place to mount at is not there");
    TRY(put_in_place(mounts_[index], point));
    TRY(keep_hidden(index));
    if (!needed_[index]) mounts_[index].close();
    return {};
  }

  // pivot_root(2): with both places the same, the old root comes to lie on top of the new one. A
  // caller whose root is no mount point, or the very first one, cannot be moved away from; then
  // the new root is moved over it.
  Result<> enter() {
    TRY(SYSCALL(::fchdir(mounts_[0].get()), "enter the new root"));
    Result<long> pivoted = SYSCALL(::syscall(SYS_pivot_root, ".", "."), "pivot_root");
    if (pivoted.ok()) {
      // On top of the old root lies the workshop, or it is the root itself.
      TRY(SYSCALL(::umount2(".", MNT_DETACH), "unmount the workshop"));
      if (!belongs_below()) TRY(SYSCALL(::umount2(".", MNT_DETACH), "unmount the old root"));
    } else {
      Fd root = TRY(sys::open("/", O_PATH | O_DIRECTORY));
      TRY_WHILE(put_in_place(mounts_[0], root), "%s", pivoted.error().text().c_str());
      TRY(SYSCALL(::chroot("."), "chroot to the new root"));
    }
    TRY(SYSCALL(::chdir("/"), "chdir /"));
    return {};
  }

  const NamespaceBuild& build_;
  const MountPlan& plan_;
  const std::vector<MountLine>& own_;
  BuiltMounts built_;
  std::vector<Fd>& mounts_ = built_.mounts;
  MountSources sources_;
  std::vector<bool> needed_;  // placements whose descriptor is used after they are in place
  std::unordered_multimap<uint32_t, const schema::OpenFile*> hidden_;  // by id of the mount
  KeptTree kept_;
};

}  // namespace

Result<> build_mounts(const NamespaceBuild& build, const MountPlan& plan,
                      const std::vector<MountLine>& own) {
  return Builder(build, plan, own).build();
}

}  // namespace ncr::mount_namespace
