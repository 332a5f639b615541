#include "engine/resources/mount_namespace/earlier_mounts.h"

#include "engine/resources/mount_namespace/split_systems.h"

namespace ncr::mount_namespace {

using schema::MountedFileSystem;

Elsewhere EarlierMounts::search(const Fits& fits) const {
  Elsewhere best;
  for (const schema::Namespace* space : spaces_)
    for (const schema::Mount& mount : space->mnt().mounts()) {
      if (best.mount != nullptr && mount.root().size() >= best.mount->root().size()) continue;
      const MountedFileSystem* file_system = file_system_of(space->mnt(), mount);
      // One that is made late is not there yet.
      if (file_system != nullptr && file_system->pid_namespace() == 0 &&
          fits(mount, *file_system) && can_be_taken(space->mnt(), mount))
        best = {space->id(), &mount, file_system};
    }
  return best;
}

Elsewhere EarlierMounts::of_group(uint32_t group) const {
  if (group == 0) return {};
  return search(
      [&](const schema::Mount& mount, const MountedFileSystem&) { return mount.peers() == group; });
}

size_t add(const Elsewhere& elsewhere, MountPlan* plan) {
  for (size_t i = 0; i < plan->elsewhere.size(); i++)
    if (plan->elsewhere[i].mount == elsewhere.mount) return i;
  plan->elsewhere.push_back(elsewhere);
  return plan->elsewhere.size() - 1;
}

const MountedFileSystem* file_system_of(const schema::MountNamespace& table,
                                        const schema::Mount& mount) {
  for (const MountedFileSystem& file_system : table.file_systems())
    if (file_system.id() == mount.file_system()) return &file_system;
  return nullptr;
}

}  // namespace ncr::mount_namespace
