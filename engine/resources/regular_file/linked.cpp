// A mount may show one folder of a file system, and a file that was opened there may have lost its
// name in it, while it has another one beyond: seen through another mount, perhaps of another mount
// namespace. To be opened on its own mount it needs a name there. At the restore it gets the one it
// had, for the moment in which it is opened; nothing is done to the tree that is dumped. linkat(2)
// takes both names on one mount, one that shows both. find runs in the engine, open in the child.
#include "engine/resources/regular_file/linked.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "engine/base/undo.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/inode_path.h"
#include "engine/resources/mount_namespace/mountinfo.h"

namespace ncr::regular_file {
namespace {

using mount_namespace::MountLine;

struct Place {
  struct statx status {};  // what is at the path
  MountLine mount;         // that it is on
  std::string path;        // below the root of the file system
};

std::string join(const std::string& above, const std::string& below) {
  if (below.empty()) return above;
  return above.ends_with('/') ? above + below : above + "/" + below;
}

Result<Place> place_of(const MountView& view, const std::string& path) {
  Fd fd = TRY(view.open(path, O_PATH | O_NOFOLLOW));
  Place place;
  TRY(SYSCALL(::statx(fd.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &place.status),
              "statx %s", path.c_str()));
  const std::string table = TRY(view.mountinfo());
  for (MountLine& line : TRY(mount_namespace::parse_mountinfo(table))) {
    std::string below;
    if (line.id != place.status.stx_mnt_id || !mount_namespace::is_below(path, line.point, &below))
      continue;
    place.path = join(line.root, below);
    place.mount = std::move(line);
    return place;
  }
  return Error::gone(strf("the mount of %s", path.c_str()));
}

bool are_same(const Place& a, const Place& b) {
  return a.status.stx_dev_major == b.status.stx_dev_major &&
         a.status.stx_dev_minor == b.status.stx_dev_minor && a.status.stx_ino == b.status.stx_ino;
}

std::string folder_of(const std::string& path) {
  return path.substr(0, std::max<size_t>(path.rfind('/'), 1));
}

// The way to `folder` on the mount that the other name of the file is on, as this view sees it.
Result<> find_in(const MountView& view, const Place& folder, const FileHandle& handle,
                 schema::LinkedFile* linked) {
  const std::string path = TRY(path_by_handle(view, handle));
  const Place other = TRY(place_of(view, path));
  std::string below;
  if (other.status.stx_ino != handle.inode || other.mount.device != folder.mount.device ||
      !mount_namespace::is_below(folder.path, other.mount.root, &below))
    return Error::gone("no mount shows both");
  const std::string way = join(other.mount.point, below);
  const Place there = TRY(place_of(view, way));
  if (there.mount.id != other.mount.id || !are_same(there, folder))
    return Error::gone("another mount is in the way");
  linked->set_path(path);
  linked->set_folder(way);
  return {};
}

// In the mount namespace that the paths are of: the name that the file has now.
Result<std::string> give_name(const schema::LinkedFile& linked, const std::string& wanted,
                              uint32_t id, Fd* folder) {
  *folder = TRY(sys::open(linked.folder().c_str(), O_PATH | O_DIRECTORY));
  constexpr int kTries = 100;
  for (int attempt = 0; attempt < kTries; attempt++) {
    const std::string name =
        attempt == 0 ? wanted
                     : strf("%s.nativecr-%d-%u-%d", wanted.c_str(), ::getpid(), id, attempt);
    Result<int> made =
        SYSCALL(::linkat(AT_FDCWD, linked.path().c_str(), folder->get(), name.c_str(), 0),
                "give %s its name back", linked.path().c_str());
    if (made.ok()) return name;
    if (made.error().os_error() != EEXIST) return made.take_error();
  }
  return Error::unsupported(strf("no free name in %s", linked.folder().c_str()));
}

}  // namespace

bool is_on_its_mount(const FdProbe& probe, const std::string& path) {
  if (path.empty()) return false;
  if (probe.view == nullptr) return true;  // as far as anybody knows
  Result<Place> place = place_of(*probe.view, path);
  return place.ok() && place.value().mount.id == static_cast<uint32_t>(probe.mount_id);
}

bool find_linked(const FdProbe& probe, schema::RegularFile* file, const MountView** seen_by) {
  // Mounts of the engine's own namespace are not made again.
  if (probe.view == nullptr || probe.views == nullptr || probe.view->own()) return false;
  if (S_ISDIR(probe.stat.st_mode)) return false;
  Result<FileHandle> handle = handle_of(probe.local);
  Result<Place> folder = place_of(*probe.view, folder_of(file->path()));
  if (!handle.ok() || !folder.ok() ||
      folder.value().mount.id != static_cast<uint32_t>(probe.mount_id))
    return false;
  for (const MountView* view : probe.views->others()) {
    if (!find_in(*view, folder.value(), handle.value(), file->mutable_linked()).ok()) continue;
    *seen_by = view;
    return true;
  }
  file->clear_linked();
  return false;
}

Result<Fd> open_linked(FileRestorer& files, const schema::OpenFile& record, int flags) {
  const schema::RegularFile& file = record.regular_file();
  const std::string& path = file.path();
  const size_t start = path.rfind('/') + 1;
  Fd folder;
  std::string name;
  Undo unlink([&] {
    if (!name.empty()) (void)::unlinkat(folder.get(), name.c_str(), 0);
  });
  auto lend = [&]() -> Result<> {
    name = TRY(give_name(file.linked(), path.substr(start), record.id(), &folder));
    return {};
  };
  TRY(files.in_mount_namespace(file.linked().mount_namespace(), record, lend));
  return sys::open((path.substr(0, start) + name).c_str(), flags);
}

}  // namespace ncr::regular_file
