// open_by_handle_at(2) through any mount of a file system finds an inode, and the link of the
// descriptor names one of its dentries: of several names the one that was looked up or made last
// and is still remembered (kernel: d_find_any_alias), which need not be one that the mount shows.
// Runs in the engine.
#include "engine/resources/inode_path.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "engine/resources/fdinfo.h"

namespace ncr {
namespace {

Result<std::string> path_through(const MountView& view, const std::string& mount_point,
                                 const FileHandle& wanted) {
  Fd mount = TRY(view.open(mount_point, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  std::vector<char> buffer(sizeof(file_handle) + wanted.bytes.size());
  auto* handle = reinterpret_cast<file_handle*>(buffer.data());
  handle->handle_bytes = static_cast<unsigned>(wanted.bytes.size());
  handle->handle_type = wanted.type;
  std::memcpy(handle->f_handle, wanted.bytes.data(), wanted.bytes.size());
  Fd file(TRY(
      SYSCALL(::open_by_handle_at(mount.get(), handle, O_PATH | O_CLOEXEC), "open_by_handle_at")));
  std::string path = TRY(sys::read_link_at(Fd(), strf("/proc/self/fd/%d", file.get()).c_str()));
  struct stat now = TRY(view.lstat(path));
  if (now.st_ino != wanted.inode) return Error::gone(strf("%s is another file", path.c_str()));
  return path;
}

}  // namespace

std::vector<std::string> mount_points(const std::string& mountinfo, uint64_t device) {
  std::vector<std::string> whole;
  std::vector<std::string> parts;
  size_t at = 0;
  while (at < mountinfo.size()) {
    size_t end = std::min(mountinfo.find('\n', at), mountinfo.size());
    std::string line = mountinfo.substr(at, end - at);
    at = end + 1;
    unsigned major = 0;
    unsigned minor = 0;
    char root[4096];
    char point[4096];
    if (std::sscanf(line.c_str(), "%*d %*d %u:%u %4095s %4095s", &major, &minor, root, point) != 4)
      continue;
    if (((uint64_t{major} << 20) | minor) != device) continue;
    (std::strcmp(root, "/") == 0 ? whole : parts).emplace_back(point);
  }
  whole.insert(whole.end(), parts.begin(), parts.end());
  return whole;
}

Result<FileHandle> handle_of(const Fd& file) {
  struct stat status {};
  TRY(SYSCALL(::fstat(file.get(), &status), "fstat"));
  std::vector<char> buffer(sizeof(file_handle) + MAX_HANDLE_SZ);
  auto* handle = reinterpret_cast<file_handle*>(buffer.data());
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount = 0;
  TRY(SYSCALL(::name_to_handle_at(file.get(), "", handle, &mount, AT_EMPTY_PATH),
              "name_to_handle_at"));
  return FileHandle{
      kernel_device(status.st_dev), status.st_ino, handle->handle_type,
      std::string(reinterpret_cast<const char*>(handle->f_handle), handle->handle_bytes)};
}

Result<std::string> path_by_handle(const MountView& view, const FileHandle& handle) {
  std::string mountinfo = TRY(view.mountinfo());
  Error last = Error::unsupported(strf("no mount of device %llu:%llu is in sight",
                                       static_cast<unsigned long long>(handle.device >> 20),
                                       static_cast<unsigned long long>(handle.device & 0xfffff)));
  for (const std::string& point : mount_points(mountinfo, handle.device)) {
    Result<std::string> path = path_through(view, point, handle);
    if (path.ok()) return path;
    last = path.take_error();
  }
  return last;
}

}  // namespace ncr
