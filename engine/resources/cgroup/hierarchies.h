// The cgroup hierarchies of this machine, and where their directories are.
#pragma once

#include <string>
#include <vector>

#include "engine/base/sys.h"
#include "engine/resources/cgroup/proc_cgroup.h"

namespace ncr::cgroup {

class Hierarchies {
 public:
  static Result<Hierarchies> look();

  // Where this thread is, in every hierarchy there is.
  const std::vector<Membership>& own() const { return own_; }
  // Null if this machine has no hierarchy of exactly these controllers.
  const Membership* own_in(std::string_view controllers) const;
  // The directory of the cgroup at "/".
  Result<Fd> open_root(const std::string& controllers) const;

 private:
  std::vector<Membership> own_;
  std::vector<CgroupMount> mounts_;
};

// A cgroup directory at `path` ("/a/b") below `root`.
Result<Fd> open_cgroup(const Fd& root, const std::string& path);

}  // namespace ncr::cgroup
