// A file with a path: the kernel keeps inode, position and flags in the description, and shows the
// path in /proc/PID/fd/N. Regular files, directories and whatever is open with O_PATH are opened
// again by path. Content is not in the image, so at restore the file must be there: of the same
// type, not shorter than it was (a log may have grown). A file behind a mapping must be the same
// one: libraries and programs are compared by their first page. A file whose name is gone is a
// ghost (ghost.cpp) if it has no other name; another one is looked for in the same folder, and
// among those that the kernel remembers. One that its mount does not show lends it the old name for
// a moment (linked.cpp); what is found nowhere is refused. recognises, preflight and dump run in
// the engine, open in the child.
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "engine/base/deleted_mark.h"
#include "engine/base/undo.h"
#include "engine/base/xxh3.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/file_table.h"
#include "engine/resources/inode_path.h"
#include "engine/resources/regular_file/ghost.h"
#include "engine/resources/regular_file/hidden.h"
#include "engine/resources/regular_file/linked.h"
#include "engine/resources/status_flags.h"
#include "engine/resources/unsupported.h"

namespace ncr::regular_file {
namespace {

bool recognises(const FdProbe& probe) {
  if (!probe.link.starts_with("/") || probe.link.starts_with("/memfd:")) return false;
  if ((probe.flags & O_PATH) != 0) return true;
  if (S_ISDIR(probe.stat.st_mode)) return true;
  if (!S_ISREG(probe.stat.st_mode)) return false;
  Result<int64_t> file_system = file_system_of(probe.local);
  return !file_system.ok() || !is_kernel_object(file_system.value());
}

enum class Name { kThere, kHidden, kUnlinked, kLinked, kElsewhere };

// Of the folders above the path the nearest that is there; *folder is its name, with a slash.
Result<Fd> nearest_folder(const MountView& view, const std::string& path, std::string* folder) {
  for (size_t end = path.rfind('/');; end = path.rfind('/', end - 1)) {
    *folder = path.substr(0, end + 1);
    Result<Fd> opened = view.open(*folder, O_RDONLY | O_DIRECTORY);
    if (opened.ok() || end == 0 || end == std::string::npos) return opened;
  }
}

// Another name of the file in the folder of the one that went (a log that was rotated): empty if
// there is none.
std::string other_name(const FdProbe& probe, const std::string& path) {
  const MountView own;
  const MountView& view = probe.view != nullptr ? *probe.view : own;
  std::string folder;
  Result<Fd> opened = nearest_folder(view, path, &folder);
  if (!opened.ok()) return {};
  DIR* dir = ::fdopendir(opened.value().get());
  if (dir == nullptr) return {};
  (void)opened.value().release();
  Undo close([dir] { ::closedir(dir); });
  while (const dirent* entry = ::readdir(dir)) {
    if (entry->d_ino != probe.stat.st_ino) continue;
    std::string name = folder + entry->d_name;
    if (probe.is_at(name)) return name;
  }
  return {};
}

// One in another folder, if the kernel remembers it.
std::string remembered_name(const FdProbe& probe) {
  const MountView own;
  Result<FileHandle> handle = handle_of(probe.local);
  if (!handle.ok()) return {};
  Result<std::string> path =
      path_by_handle(probe.view != nullptr ? *probe.view : own, handle.value());
  return path.ok() && probe.is_at(path.value()) ? path.take() : std::string();
}

// A file may be called "x (deleted)", so the name as printed is tried first. *seen_by: where the
// paths of file->linked() are looked up.
Name find_name(const FdProbe& probe, schema::RegularFile* file, const MountView** seen_by) {
  file->set_path(probe.link);
  if (probe.is_at(file->path())) return Name::kThere;
  const bool marked = drop_deleted_mark(file->mutable_path());
  if (probe.stat.st_nlink == 0) {
    (void)find_hidden(probe, file->path().substr(0, file->path().rfind('/') + 1), file);
    return Name::kUnlinked;
  }
  if (!marked && find_hidden(probe, file->path(), file)) return Name::kHidden;
  std::string other = other_name(probe, file->path());
  if (other.empty()) other = remembered_name(probe);
  if (!is_on_its_mount(probe, other) && find_linked(probe, file, seen_by)) return Name::kLinked;
  if (other.empty()) return Name::kElsewhere;
  file->set_path(other);
  return Name::kThere;
}

constexpr const char* kElsewhereReason =
    "the name it was opened by is gone or is another file now, and its other names cannot be found";

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  schema::RegularFile file;
  const MountView* seen_by = nullptr;
  if (find_name(probe, &file, &seen_by) == Name::kElsewhere)
    blockers.add(*probe.task, strf("fd %d: %s", raw(probe.number), probe.link.c_str()),
                 kElsewhereReason, "put the file back under that name");
  return {};
}

// Empty unless it is an ELF file.
std::string elf_head(const Fd& fd) {
  Result<Fd> file = reopen(fd, O_RDONLY);
  if (!file.ok()) return {};
  char page[4096];
  Result<ssize_t> got = SYSCALL(::pread(file.value().get(), page, sizeof page, 0), "pread");
  if (!got.ok() || got.value() < 4 || std::string_view(page, 4) != "\177ELF") return {};
  const Digest digest = xxh3_128(page, static_cast<size_t>(got.value()));
  return std::string(reinterpret_cast<const char*>(digest.data()), digest.size());
}

Result<> dump(FileTable& files, const FdProbe& probe, schema::OpenFile* record) {
  schema::RegularFile* file = record->mutable_regular_file();
  const MountView* seen_by = nullptr;
  const Name name = find_name(probe, file, &seen_by);
  if (name == Name::kLinked)
    file->mutable_linked()->set_mount_namespace(files.mount_namespace_of(seen_by));
  file->set_mode(probe.stat.st_mode);
  file->set_size(static_cast<uint64_t>(probe.stat.st_size));
  file->set_position(probe.position);
  file->set_mapped(probe.task == nullptr && probe.fdinfo.empty());
  if (name == Name::kUnlinked) return dump_ghost(files, probe, record);
  if (name == Name::kElsewhere)
    return Error::unsupported(strf("%s: %s", probe.link.c_str(), kElsewhereReason));
  return {};
}

Result<> finish(const Fd& mapped, schema::OpenFile* record) {
  schema::RegularFile* file = record->mutable_regular_file();
  if (!file->has_ghost() && S_ISREG(file->mode())) file->set_elf_head(elf_head(mapped));
  return {};
}

// Whether what is at the path now can stand for what was there.
Result<> check_same(const Fd& fd, const schema::RegularFile& file) {
  const char* path = file.path().c_str();
  struct stat now {};
  TRY(SYSCALL(::fstat(fd.get(), &now), "fstat %s", path));
  if ((now.st_mode & S_IFMT) != (file.mode() & S_IFMT))
    return Error::unsupported(strf(
        "%s is a file of another type than when the image was made; put the old one back", path));
  if (!S_ISREG(now.st_mode)) return {};
  auto size = static_cast<uint64_t>(now.st_size);
  if (size < file.size())
    return Error::unsupported(
        strf("%s has %llu bytes, %llu when the image was made; put the old file back", path,
             static_cast<unsigned long long>(size), static_cast<unsigned long long>(file.size())));
  if (file.elf_head().empty()) return {};
  if (size != file.size() || elf_head(fd) != file.elf_head())
    return Error::unsupported(
        strf("%s is another program or library than when the image was made (an upgrade?); put the "
             "old one back",
             path));
  return {};
}

Result<Fd> open(FileRestorer& files, const schema::OpenFile& record) {
  const schema::RegularFile& file = record.regular_file();
  bool ghost = file.has_ghost();
  int flags = open_flags(record.flags()) | O_NOCTTY;
  // A link itself was opened, not what it points at.
  if (S_ISLNK(file.mode())) flags |= O_NOFOLLOW;
  Fd fd;
  if (ghost)
    fd = TRY(open_ghost(files, record));
  else if (file.hidden_mount() != 0)
    fd = TRY(reopen_hidden(files, record, flags & ~O_NOFOLLOW));
  else if (file.has_linked())
    fd = TRY(open_linked(files, record, flags));
  else
    fd = TRY(sys::open(file.path().c_str(), flags));
  if (!ghost) TRY(check_same(fd, file));
  if ((record.flags() & O_PATH) != 0) return fd;
  if (file.position() != 0)
    TRY(SYSCALL(::lseek(fd.get(), static_cast<off_t>(file.position()), SEEK_SET),
                "lseek %s to %llu", file.path().c_str(),
                static_cast<unsigned long long>(file.position())));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace

extern const FdRoom kRoom = {.name = "regular_file",
                             .kind = schema::OpenFile::kRegularFile,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .finish = finish,
                             .open = open};

}  // namespace ncr::regular_file
