// A descriptor keeps its mount (struct path), so a file stays open when something else is mounted
// on the way to it. /proc/PID/fd shows the path as if nothing were, and fdinfo the mount. While the
// mounts are made again there is a moment at which the path still leads there: then a descriptor of
// the file is kept (mount_namespace/mount_build.cpp). find runs in the engine, open in the child.
#include "engine/resources/regular_file/hidden.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "engine/resources/file_restorer.h"
#include "engine/resources/mount_namespace/mountinfo.h"
#include "engine/resources/status_flags.h"

namespace ncr::regular_file {
namespace {

// Of the path as far as it leads to something; 0: unknown.
int mount_at(const MountView& view, std::string path) {
  for (;;) {
    Result<Fd> found = view.open(path.empty() ? "/" : path, O_PATH | O_NOFOLLOW);
    struct statx status {};
    if (found.ok()) {
      if (::statx(found.value().get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &status) != 0) return 0;
      return static_cast<int>(status.stx_mnt_id);
    }
    if (path.empty()) return 0;
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

}  // namespace

bool find_hidden(const FdProbe& probe, const std::string& path, schema::RegularFile* file) {
  // Mounts of the engine's own namespace are not made again.
  if (probe.view == nullptr || probe.view->own() || !probe.view->has_mount(probe.mount_id))
    return false;
  const int now = mount_at(*probe.view, path);
  if (now == 0 || now == probe.mount_id) return false;
  Result<std::string> text = probe.view->mountinfo();
  if (!text.ok()) return false;
  Result<std::vector<mount_namespace::MountLine>> lines =
      mount_namespace::parse_mountinfo(text.value());
  if (!lines.ok()) return false;
  for (const mount_namespace::MountLine& line : lines.value()) {
    std::string below;
    if (static_cast<int>(line.id) != probe.mount_id ||
        !mount_namespace::is_below(path, line.point, &below))
      continue;
    file->set_hidden_mount(line.id);
    file->set_hidden_path(below);
    return true;
  }
  return false;
}

Result<Fd> open_hidden(FileRestorer& files, const schema::OpenFile& record) {
  const int kept = files.hidden(record.id());
  if (kept < 0)
    return Error::unsupported(
        strf("%s: the mount that it was opened on is not made again", record.path().c_str()));
  return Fd(TRY(SYSCALL(::fcntl(kept, F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC")));
}

Result<Fd> reopen_hidden(FileRestorer& files, const schema::OpenFile& record, int flags) {
  const Fd any = TRY(open_hidden(files, record));
  return reopen(any, flags);
}

}  // namespace ncr::regular_file
