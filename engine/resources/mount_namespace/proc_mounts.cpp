// A procfs shows the pid namespace of whoever created it (proc_fs_info.pid_ns, fs/proc/root.c); no
// option or field tells which, but the first process that it shows is that namespace's own. Mounts
// with one below that of the tree's root wait for a process in it.
#include "engine/resources/mount_namespace/proc_mounts.h"

#include <fcntl.h>

#include "engine/resources/mount_namespace/mount_calls.h"
#include "engine/resources/namespaces/namespaces.h"

namespace ncr::mount_namespace {
namespace {

// 0: the mount is covered, or shows nobody.
uint64_t shown_by(const schema::Mount& mount) {
  Result<Fd> top = sys::open(mount.point().c_str(), O_PATH | O_NOFOLLOW);
  if (!top.ok()) return 0;
  Result<uint32_t> id = mount_id_of(top.value());
  if (!id.ok() || id.value() != mount.id()) return 0;
  Result<std::string> link = sys::read_link_at(top.value(), "1/ns/pid");
  return link.ok() ? namespaces::inode_of(link.value()) : 0;
}

}  // namespace

void find_shown_pid_namespaces(const NamespaceProbe& probe, schema::MountNamespace* table) {
  if (!probe.nested_pids) return;
  for (const schema::Mount& mount : table->mounts()) {
    schema::MountedFileSystem* system =
        table->mutable_file_systems(static_cast<int>(mount.file_system()) - 1);
    if (system->type() != "proc" || system->origin() != schema::MountedFileSystem::MADE ||
        mount.external() || mount.root() != "/" || system->pid_namespace() != 0)
      continue;
    system->set_pid_namespace(probe.nested_pids(shown_by(mount)));
  }
}

bool has_late_mounts(const schema::Namespace& mounts, uint32_t pid_namespace) {
  for (const schema::MountedFileSystem& system : mounts.mnt().file_systems()) {
    const uint32_t shown = system.pid_namespace();
    if (shown != 0 && (pid_namespace == 0 || shown == pid_namespace)) return true;
  }
  return false;
}

}  // namespace ncr::mount_namespace
