// The node of a pseudo-terminal exists as long as its master is open, so what shows it can only be
// mounted when that is made again: after the other mounts, by the task that makes it.
#include "engine/resources/mount_namespace/terminal_mounts.h"

#include <fcntl.h>
#include <sys/mount.h>

#include "engine/resources/mount_namespace/mount_calls.h"
#include "engine/resources/mount_namespace/mountinfo.h"

namespace ncr::mount_namespace {
namespace {

bool is_made_devpts(const schema::MountNamespace& table, uint32_t id) {
  for (const schema::MountedFileSystem& file_system : table.file_systems())
    if (file_system.id() == id)
      return file_system.type() == "devpts" &&
             file_system.origin() == schema::MountedFileSystem::MADE;
  return false;
}

Result<> mount_at(const schema::MountNamespace& table, const schema::Mount& wanted) {
  for (const schema::Mount& mount : table.mounts()) {
    if (mount.file_system() != wanted.file_system() || mount.root() != "/") continue;
    Fd copy = TRY(copy_mount_at(mount.point() + wanted.root()));
    TRY(set_propagation(copy, MS_PRIVATE));
    TRY(set_attributes(copy, wanted.attributes()));
    Fd point = TRY(sys::open(wanted.point().c_str(), O_PATH | O_NOFOLLOW));
    return put_in_place(copy, point);
  }
  return Error::malformed("its devpts is mounted nowhere in the image");
}

}  // namespace

Result<> mount_terminal(const Image& image, uint32_t namespace_id, unsigned number) {
  const std::string root = strf("/%u", number);
  for (const schema::Namespace& space : image.namespaces) {
    if (!space.has_mnt() || (namespace_id != 0 && space.id() != namespace_id)) continue;
    for (const schema::Mount& mount : space.mnt().mounts())
      if (mount.root() == root && !mount.external() &&
          is_made_devpts(space.mnt(), mount.file_system()))
        TRY_WHILE(mount_at(space.mnt(), mount), "mount the terminal %u at %s", number,
                  mount.point().c_str());
  }
  return {};
}

}  // namespace ncr::mount_namespace
