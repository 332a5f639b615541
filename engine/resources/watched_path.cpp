// What inotify and fanotify say of a file is a handle, or the number of a mount: mountinfo has the
// rest.
#include "engine/resources/watched_path.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdio>
#include <sstream>

#include "engine/resources/inode_path.h"

namespace ncr {
namespace {

Result<uint64_t> mount_id_at(const MountView& view, const std::string& path) {
  Fd fd = TRY(view.open(path, O_PATH | O_NOFOLLOW));
  struct statx status {};
  TRY(SYSCALL(::statx(fd.get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &status), "statx"));
  return status.stx_mnt_id;
}

}  // namespace

Result<std::string> path_of_watched(const MountView& view, const WatchedFile& file) {
  if (file.handle.empty()) return Error::unsupported("its file system gives no file handles");
  return path_by_handle(view, {file.device, file.inode, file.handle_type, file.handle});
}

Result<std::string> path_of_mount(const MountView& view, int mount_id) {
  std::istringstream mountinfo(TRY(view.mountinfo()));
  for (std::string line; std::getline(mountinfo, line);) {
    int id = 0;
    char point[4096];
    if (std::sscanf(line.c_str(), "%d %*d %*s %*s %4095s", &id, point) != 2) continue;
    if (id != mount_id) continue;
    if (TRY(mount_id_at(view, point)) == static_cast<uint64_t>(mount_id)) return std::string(point);
    return Error::unsupported(strf("another mount covers %s", point));
  }
  return Error::unsupported("it is not in the mount namespace of the task");
}

Result<std::string> path_of_file_system(const MountView& view, uint64_t device) {
  const std::string mountinfo = TRY(view.mountinfo());
  for (const std::string& point : mount_points(mountinfo, device)) {
    Result<struct stat> there = view.stat(point);
    if (there.ok() && kernel_device(there.value().st_dev) == device) return point;
  }
  return Error::unsupported("no mount of it is in sight");
}

}  // namespace ncr
