// What the mounts of a namespace that is being built are made of or copied from.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/resources/mount_namespace/late_mounts.h"
#include "engine/resources/mount_namespace/mount_plan.h"
#include "engine/resources/room.h"

namespace ncr::mount_namespace {

class MountSources {
 public:
  // `built`: gets a mount for each placement, not put in place yet. Uses up NamespaceBuild::taken.
  MountSources(const NamespaceBuild& build, const MountPlan& plan,
               const std::vector<MountLine>& own, BuiltMounts& built);
  MountSources(const MountSources&) = delete;
  ~MountSources() { remove_names(); }

  // Copies of what is not the tree's alone, while paths still are the caller's. Afterwards nothing
  // of the caller's table gets anything from here, and the workshop is open.
  Result<> take_from_outside();
  // What is left: made, or copied from what was made.
  Result<> take(size_t index);
  // The caller's root was copied with all that is on it.
  bool keeps_tree() const { return keeps_tree_; }

  // A tmpfs on top of the old root.
  const Fd& workshop() const { return workshop_; }
  Result<Fd> place_in_workshop(const std::string& name, const Fd& mount);
  // We are in a copy of this namespace, with the workshop as its root.
  Result<> move_to_copy();
  // What was made for a moment, because a mount shows it.
  void remove_names();
  // Sets its propagation as its source's, without being in a group with it.
  static Result<> part(const Placement& placement, const Fd& copy);

 private:
  struct Named {
    Fd directory;
    std::string name;
    int flags;  // of unlinkat(2)
  };

  Result<Fd> copy_of_path(const std::string& path) const;
  Result<> take_paths();
  Result<> take_elsewhere();
  Result<> take_elsewhere(size_t index);
  Result<> take_host_mounts();
  Result<> take_host_tree(const MountLine& line);
  Result<> take_host_mount(const MountLine& line, size_t index);
  Result<Fd> open_part(const Fd& mount, const std::string& below, Fd* alone);
  Result<> open_workshop();
  Result<> in_new_tree(const std::function<Result<>()>& work);
  Result<Fd> make_overlay(const schema::MountedFileSystem& file_system);
  Result<Fd> make_overlay_by_mount(const schema::MountedFileSystem& file_system);
  Result<Fd> make_as_owner(const schema::MountedFileSystem& file_system);
  Result<Fd> make_empty(const schema::MountedFileSystem& file_system);
  Result<> check_has_files(const schema::MountedFileSystem& file_system) const;
  Result<Fd> make_autofs(const schema::MountedFileSystem& file_system);
  Result<Fd> make(const schema::MountedFileSystem& file_system);
  Result<> make_shared(size_t index);
  Result<Fd> copy_of_part(const Fd& whole, const Placement& placement);
  Result<Fd> copy_of_removed(const Fd& whole, const Placement& placement);

  const NamespaceBuild& build_;
  const MountPlan& plan_;
  const std::vector<MountLine>& own_;
  BuiltMounts& built_;
  std::vector<Fd>& mounts_ = built_.mounts;
  std::vector<Fd> shared_;                     // by MountPlan::shared
  std::unordered_map<size_t, Error> refused_;  // copies that could not be made
  std::vector<Named> named_;                   // what is to lose its name
  size_t parts_ = 0;                           // that stand in the workshop
  bool in_another_namespace_ = false;
  bool keeps_tree_ = false;
  Fd workshop_;
};

}  // namespace ncr::mount_namespace
