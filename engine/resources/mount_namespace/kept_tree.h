// Mounts that a user namespace may show but not take apart.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "engine/base/sys.h"
#include "engine/resources/mount_namespace/mountinfo.h"

namespace ncr::mount_namespace {

// A copy of a whole tree of mounts, put in place: what is in it already.
class KeptTree {
 public:
  // `root`: of the copy.
  static Result<KeptTree> read(const Fd& root);

  // The mount at `point` that shows `root` of the file system with this device. False if there is
  // none; *mount stays invalid if another one covers it.
  Result<bool> find(const Fd& tree, const std::string& point, uint64_t device,
                    const std::string& root, Fd* mount) const;

 private:
  std::vector<MountLine> lines_;  // points as within the copy
  std::unordered_map<uint32_t, size_t> by_id_;
};

}  // namespace ncr::mount_namespace
