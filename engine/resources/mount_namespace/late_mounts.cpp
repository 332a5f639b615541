// A procfs belongs to the pid namespace of whoever creates it, and a user namespace lets one be
// created only where another can be seen (kernel: mount_too_revealing): in the workshop, a mount
// namespace that is a copy of the caller's. From there copies are brought here. The table has been
// in use meanwhile, so nothing may spread from where a late mount goes: its parent leaves its group
// for a moment. Runs in a task being born.
#include "engine/resources/mount_namespace/late_mounts.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <set>

#include "engine/resources/mount_namespace/mount_calls.h"

namespace ncr::mount_namespace {
namespace {

uint32_t stage_of(const MountPlan& plan, const Spread& spread) {
  const uint32_t own = plan.placements[spread.placement].late;
  if (own != 0 || spread.kind != Spread::Kind::kJoin) return own;
  return plan.placements[spread.from].late;
}

std::set<size_t> needed_later(const MountPlan& plan) {
  std::set<size_t> needed;
  for (size_t i = 0; i < plan.placements.size(); i++)
    if (plan.placements[i].late != 0) {
      needed.insert(i);
      needed.insert(plan.placements[i].parent);
    }
  for (const Spread& spread : plan.spreads)
    if (is_late(plan, spread)) {
      needed.insert(spread.placement);
      if (spread.kind == Spread::Kind::kJoin) needed.insert(spread.from);
    }
  return needed;
}

class Finisher {
 public:
  Finisher(const NamespaceBuild& build, const MountPlan& plan, uint32_t pid_namespace,
           BuiltMounts& built)
      : build_(build), plan_(plan), pid_namespace_(pid_namespace), built_(built) {}

  Result<> finish() {
    TRY(build_.enter_workshop());
    TRY(set_propagation_of_all(MS_PRIVATE));
    for (size_t i = 0; i < plan_.placements.size(); i++)
      if (is_due(i) && plan_.placements[i].file_system->pid_namespace() != 0)
        TRY_WHILE(make(i), "mount %s", point_of(i));
    TRY(build_.enter_mounts(build_.record.id()));
    for (size_t i = 0; i < plan_.placements.size(); i++)
      if (is_due(i)) TRY_WHILE(place(i), "mount %s", point_of(i));
    for (const Spread& spread : plan_.spreads)
      if (stage_of(plan_, spread) == pid_namespace_)
        TRY_WHILE(apply(spread, built_), "mount %s", point_of(spread.placement));
    return {};
  }

 private:
  bool is_due(size_t index) const { return plan_.placements[index].late == pid_namespace_; }
  const char* point_of(size_t index) const {
    return plan_.placements[index].mount->point().c_str();
  }

  Result<> make(size_t index) {
    const Placement& placement = plan_.placements[index];
    Fd& procfs = made_[placement.file_system->id()];
    if (!procfs.valid()) {
      procfs = TRY(make_file_system(*placement.file_system));
      Fd root = TRY(sys::open("/", O_PATH | O_DIRECTORY));
      // An older kernel copies no part of what is nowhere.
      TRY(put_in_place(procfs, root));
    }
    Fd from = TRY(open_below(procfs, placement.source.below));
    built_.mounts[index] = TRY(copy_mount(from));
    TRY(set_propagation(built_.mounts[index], MS_PRIVATE));
    return set_attributes(built_.mounts[index], placement.mount->attributes());
  }

  Result<> place(size_t index) {
    const Placement& placement = plan_.placements[index];
    if (placement.mount->locked()) return {};  // came with what it is mounted on
    const Placement& parent = plan_.placements[placement.parent];
    if (parent.late != 0) {
      Fd point = TRY_WHILE(open_below(built_.mounts[placement.parent], placement.point),
                           "the place to mount at is not there");
      return put_in_place(built_.mounts[index], point);
    }
    const Fd& on = built_.mounts[placement.parent];
    const bool spreads = parent.mount->peers() != 0 || parent.mount->master() != 0;
    Fd stand_in;
    if (spreads) {
      stand_in = TRY(copy_mount(on));
      TRY(set_propagation(on, MS_PRIVATE));
    }
    TRY(put_in_place(built_.mounts[index], built_.points[index]));
    return spreads ? join_group(stand_in, on) : Result<>();
  }

  const NamespaceBuild& build_;
  const MountPlan& plan_;
  const uint32_t pid_namespace_;
  BuiltMounts& built_;
  std::map<uint32_t, Fd> made_;  // by file system
};

}  // namespace

bool is_late(const MountPlan& plan, const Spread& spread) { return stage_of(plan, spread) != 0; }

Result<> apply(const Spread& spread, const BuiltMounts& built) {
  const Fd& mount = built.mounts[spread.placement];
  if (!mount.valid()) return {};
  switch (spread.kind) {
    case Spread::Kind::kShare:
      return set_propagation(mount, MS_SHARED);
    case Spread::Kind::kSlave:
      return set_propagation(mount, MS_SLAVE);
    case Spread::Kind::kUnbindable:
      return set_propagation(mount, MS_UNBINDABLE);
    case Spread::Kind::kJoin:
      if (!built.mounts[spread.from].valid()) return {};
      return join_group(built.mounts[spread.from], mount);
    case Spread::Kind::kJoinElsewhere:
      return join_group(built.elsewhere[spread.from], mount);
    case Spread::Kind::kJoinSource:
      return join_group(built.sources.at(spread.placement), mount);
  }
  return {};
}

Result<bool> BuiltMounts::keep_for_later(const MountPlan& plan, int fd_base) {
  const std::set<size_t> needed = needed_later(plan);
  if (needed.empty()) return false;
  auto lift = [fd_base](Fd& fd) -> Result<> {
    if (!fd.valid() || fd.get() >= fd_base) return {};
    fd = Fd(TRY(SYSCALL(::fcntl(fd.get(), F_DUPFD_CLOEXEC, fd_base), "F_DUPFD_CLOEXEC")));
    return {};
  };
  for (size_t i = 0; i < mounts.size(); i++) {
    if (!needed.contains(i)) mounts[i].close();
    TRY(lift(mounts[i]));
  }
  for (auto& [index, point] : points) TRY(lift(point));
  for (Fd& mount : elsewhere) TRY(lift(mount));
  for (auto& [index, source] : sources) TRY(lift(source));
  return true;
}

Result<> finish_mounts(const NamespaceBuild& build, const MountPlan& plan, uint32_t pid_namespace,
                       BuiltMounts& built) {
  if (built.mounts.size() != plan.placements.size())
    return Error::malformed("the plan of its mounts is another one now");
  return Finisher(build, plan, pid_namespace, built).finish();
}

}  // namespace ncr::mount_namespace
