// Mounts of the mount namespaces of the tree that were built before, as sources of copies. Pure.
#pragma once

#include <functional>
#include <vector>

#include "engine/resources/mount_namespace/mount_plan.h"

namespace ncr::mount_namespace {

class EarlierMounts {
 public:
  explicit EarlierMounts(const std::vector<const schema::Namespace*>& spaces) : spaces_(spaces) {}

  // Of all mounts that `fits` says yes to, the one that shows most; without a mount: there is none.
  using Fits = std::function<bool(const schema::Mount&, const schema::MountedFileSystem&)>;
  Elsewhere search(const Fits& fits) const;
  Elsewhere of_group(uint32_t peers) const;

  const schema::MountNamespace* first() const {
    return spaces_.empty() ? nullptr : &spaces_.front()->mnt();
  }

 private:
  const std::vector<const schema::Namespace*>& spaces_;
};

// Its index in the plan.
size_t add(const Elsewhere& elsewhere, MountPlan* plan);

const schema::MountedFileSystem* file_system_of(const schema::MountNamespace& table,
                                                const schema::Mount& mount);  // null: none

}  // namespace ncr::mount_namespace
