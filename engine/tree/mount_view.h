// Where the paths of a task are looked up: the mount namespace it lives in, which need not be the
// engine's. What /proc/PID/fd, cwd, exe and maps call a file is a path in that namespace, from its
// very root (a task that changed its own root does not change that).
#pragma once

#include <sys/stat.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/base/sys.h"
#include "engine/tree/frozen_tree.h"

namespace ncr {

class MountView {
 public:
  MountView() = default;  // the engine's own namespace
  static Result<MountView> of(const Task& task);

  bool own() const { return !root_.valid(); }
  // An absolute path. The last symbolic link is followed unless `flags` has O_NOFOLLOW; nothing
  // leads out of the namespace.
  Result<Fd> open(const std::string& path, int flags) const;
  // As lstat(2) and stat(2).
  Result<struct stat> lstat(const std::string& path) const;
  Result<struct stat> stat(const std::string& path) const;
  // Whether the path names this very file, not one it links to.
  bool names(const std::string& path, const struct stat& file) const;
  Result<std::string> mountinfo() const;  // of the whole namespace
  bool has_mount(int mount_id) const;     // as fdinfo numbers it
  // "mnt:[4026531841]"; empty for the engine's own.
  const std::string& link() const { return link_; }

 private:
  Fd root_;
  Fd proc_;  // /proc/PID of a task that sees the whole namespace
  std::string mountinfo_;
  std::string link_;
  mutable std::optional<std::set<int>> mount_ids_;  // read when first asked for
};

// The views of a tree: one for each mount namespace.
class MountViews {
 public:
  MountViews();
  Result<const MountView*> of(const Task& task);
  // The namespace that a file's mount is in: `likely`, or the engine's for a file that came from
  // there (standard output of a container), or another one of the tree; `likely` if none has it.
  const MountView* with_mount(int mount_id, const MountView* likely) const;
  const MountView& own() const { return *own_; }
  std::vector<const MountView*> others() const;

 private:
  std::unique_ptr<MountView> own_;
  std::string own_link_;  // of /proc/self/ns/mnt
  std::map<std::string, std::unique_ptr<MountView>> others_;
};

}  // namespace ncr
