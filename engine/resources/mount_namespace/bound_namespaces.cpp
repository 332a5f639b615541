// Mounts of nsfs: each shows one namespace, which mountinfo names as the root of the mount
// ("net:[4026532008]"), and keeps it alive (ip netns add). find runs on a thread of the engine that
// has entered the mount namespace, copy in the root task.
#include "engine/resources/mount_namespace/bound_namespaces.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "engine/resources/namespaces/namespaces.h"

namespace ncr::mount_namespace {
namespace {

bool is_external(const DumpRequest& request, const MountLine& line) {
  return std::any_of(
      request.externals.begin(), request.externals.end(), [&](const External& external) {
        return external.kind == "mnt" &&
               (external.object == line.point || external.object == line.point + "/");
      });
}

Result<Fd> open_shown(const MountLine& line) {
  Fd fd = TRY(sys::open(line.point.c_str(), O_RDONLY | O_NOFOLLOW));
  struct stat status {};
  TRY(SYSCALL(::fstat(fd.get(), &status), "stat %s", line.point.c_str()));
  if (status.st_ino != namespaces::inode_of(line.root) || status.st_dev != line.device)
    return Error::unsupported("another mount covers it");
  return fd;
}

Result<> find(const NamespaceProbe& probe, const MountLine& line, schema::Mount* mount) {
  const Fd shown = TRY(open_shown(line));
  const NamespaceRoom& room = *TRY(namespaces::room_of(shown));
  mount->set_namespace_id(TRY(probe.refer(shown, strf("mount %s", line.point.c_str()))));
  mount->set_namespace_kind(room.name);
  return {};
}

}  // namespace

void find_bound_namespaces(const NamespaceProbe& probe, const std::vector<MountLine>& lines,
                           const std::vector<MountLine>& own, schema::MountNamespace* table,
                           std::vector<Refusal>* refusals) {
  for (const MountLine& line : lines) {
    if (line.type != kNsfs || is_external(probe.request, line) || is_callers_namespace(own, line))
      continue;
    for (schema::Mount& mount : *table->mutable_mounts()) {
      if (mount.id() != line.id) continue;
      Result<> found = probe.refer ? find(probe, line, &mount)
                                   : Error::unsupported("nobody knows what it shows");
      if (!found.ok())
        refusals->push_back({strf("mount %s (nsfs)", line.point.c_str()), found.error().text(),
                             "unmount it before the dump"});
    }
  }
}

Result<Fd> copy_bound_namespace(const NamespaceBuild& build, const schema::Mount& mount) {
  const std::string& kind = mount.namespace_kind();
  const int shown = build.any_descriptor ? build.any_descriptor(kind, mount.namespace_id()) : -1;
  if (shown < 0)
    return Error::malformed(
        strf("%s namespace %u was not made", kind.c_str(), mount.namespace_id()));
  Fd copy(TRY(SYSCALL(::open_tree(shown, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH),
                      "a mount of a %s namespace", kind.c_str())));
  TRY(set_propagation(copy, MS_PRIVATE));
  return copy;
}

}  // namespace ncr::mount_namespace
