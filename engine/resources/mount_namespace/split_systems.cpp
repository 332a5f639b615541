// Of file systems that show the kernel's own objects a second one is as good as the first. Of the
// others it would have files of its own.
#include "engine/resources/mount_namespace/split_systems.h"

#include <algorithm>
#include <map>
#include <unordered_set>

namespace ncr::mount_namespace {
namespace {

using Mounts = std::vector<const schema::Mount*>;

bool has_files_of_its_own(const schema::MountedFileSystem& system) {
  return system.origin() == schema::MountedFileSystem::MADE &&
         (is_in_memory(system.type()) || system.type() == "overlay" || system.type() == "devpts");
}

// Of one namespace, by device: all, and those that can be taken from there.
struct Shown {
  explicit Shown(const schema::MountNamespace& table) {
    for (const schema::Mount& mount : table.mounts()) {
      const auto& system = table.file_systems(static_cast<int>(mount.file_system()) - 1);
      if (mount.external() || !has_files_of_its_own(system)) continue;
      all[system.device()].push_back(&mount);
      if (can_be_taken(table, mount)) on_top[system.device()].push_back(&mount);
    }
  }
  std::map<uint64_t, Mounts> all;
  std::map<uint64_t, Mounts> on_top;
};

bool shows(const Mounts& mounts, const std::string& root) {
  for (const schema::Mount* mount : mounts)
    if (is_below(root, mount->root())) return true;
  return false;
}

}  // namespace

bool can_be_taken(const schema::MountNamespace& table, const schema::Mount& mount) {
  return std::none_of(table.mounts().begin(), table.mounts().end(), [&](const auto& other) {
    return other.parent() == mount.id() && (other.point() == mount.point() || other.locked());
  });
}

std::vector<Split> find_split_systems(const std::vector<const schema::Namespace*>& spaces,
                                      bool brings_root) {
  std::vector<Split> found;
  std::map<uint64_t, Mounts> before;  // on top, in those that came
  std::unordered_set<uint64_t> known;
  for (size_t i = 0; i < spaces.size(); i++) {
    const schema::MountNamespace& table = spaces[i]->mnt();
    const Shown shown(table);
    for (const auto& [device, mounts] : shown.all) {
      for (const schema::Mount* mount : mounts) {
        if (!known.contains(device) || shows(before[device], mount->root())) continue;
        found.push_back(
            {i,
             {strf("mount %s", mount->point().c_str()),
              "another mount namespace of the tree, which is made before this one, shows less of "
              "its file system or has it covered: it could not be shared any more",
              "unmount it in one of them before the dump"}});
      }
    }
    const bool given = brings_root && i == 0 && table.mounts_size() != 0;
    for (const auto& [device, mounts] : shown.all) known.insert(device);
    for (const auto& [device, mounts] : shown.on_top)
      before[device].insert(before[device].end(), mounts.begin(), mounts.end());
    if (given) {
      const auto& system = table.file_systems(static_cast<int>(table.mounts(0).file_system()) - 1);
      before[system.device()].push_back(&table.mounts(0));
    }
  }
  return found;
}

}  // namespace ncr::mount_namespace
