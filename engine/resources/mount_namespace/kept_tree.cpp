// A mount namespace that belongs to a less privileged user namespace than the one it was copied
// from has its mounts locked together (MNT_LOCKED): none can be copied without those on it, none be
// unmounted. The tree that is restored could not do that either, so the mounts are still together:
// they are copied as a whole, and those that are wanted are found there. Root task.
#include "engine/resources/mount_namespace/kept_tree.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/procfs.h"
#include "engine/resources/mount_namespace/mount_calls.h"

namespace ncr::mount_namespace {

Result<KeptTree> KeptTree::read(const Fd& root) {
  std::string text = TRY(procfs::read_file("thread-self/mountinfo"));
  std::vector<MountLine> lines = TRY(parse_mountinfo(text));
  const uint32_t id = TRY(mount_id_of(root));
  KeptTree tree;
  std::string place;
  for (const MountLine& line : lines)
    if (line.id == id) place = line.point;
  if (place.empty()) return Error::unsupported("the copied root is not in sight");
  for (MountLine& line : lines) {
    std::string below;
    if (!is_below(line.point, place, &below)) continue;
    line.point = "/" + below;
    tree.by_id_.emplace(line.id, tree.lines_.size());
    tree.lines_.push_back(std::move(line));
  }
  return tree;
}

Result<bool> KeptTree::find(const Fd& tree, const std::string& point, uint64_t device,
                            const std::string& root, Fd* mount) const {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS;
  Result<long> opened = SYSCALL(::syscall(SYS_openat2, tree.get(), point.c_str(), &how, sizeof how),
                                "open %s", point.c_str());
  if (!opened.ok()) return false;
  Fd top(static_cast<int>(opened.value()));
  auto at = by_id_.find(TRY(mount_id_of(top)));
  for (bool covered = false; at != by_id_.end(); covered = true) {
    const MountLine& line = lines_[at->second];
    if (line.point != point) return false;
    if (line.device == device && line.root == root) {
      if (!covered) *mount = std::move(top);
      return true;
    }
    at = by_id_.find(line.parent);
  }
  return false;
}

}  // namespace ncr::mount_namespace
