// The mounts that a namespace of a user namespace below was given by the one above, locked as they
// were (docs/adr/0018).
#pragma once

#include <string>
#include <vector>

#include "engine/resources/mount_namespace/mount_sources.h"

namespace ncr::mount_namespace {

class HandedDown {
 public:
  HandedDown(const NamespaceBuild& build, const MountPlan& plan, MountSources& sources,
             BuiltMounts& built)
      : build_(build), plan_(plan), sources_(sources), built_(built) {}

  // In a namespace of the root task's: takes what is not made below. Afterwards we are in that of
  // the owner, whose root is the workshop, with the attributes that are locked and no others set.
  // What is locked to its parent is in place there, or invalid if another mount covers it.
  Result<> hand_down();

 private:
  Result<> assemble(size_t index);
  Result<> leave_callers_mounts();
  Result<> unlock_tops();
  Result<> find_locked(const std::vector<MountLine>& before);
  bool is_top(size_t index) const;

  const NamespaceBuild& build_;
  const MountPlan& plan_;
  MountSources& sources_;
  BuiltMounts& built_;
  std::vector<uint32_t> ids_;  // by placement: of the mount above
};

}  // namespace ncr::mount_namespace
