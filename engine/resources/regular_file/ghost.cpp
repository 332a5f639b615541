// A ghost: a file whose last name is gone while descriptors, mappings or an executable still hold
// it. Its bytes go where shared memory goes (holes stay holes), found again by id; every
// description and mapping of the inode is joined by group_id, and the first of them makes the file
// again: under its old name if that is free, so that /proc shows what it showed, else under a name
// beside it; then the name is taken away. A deleted directory comes back empty, which is what it
// was. dump_ghost runs in the engine, open_ghost in the child.
#include "engine/resources/regular_file/ghost.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/procfs.h"
#include "engine/base/undo.h"
#include "engine/memory/shared_memory_table.h"
#include "engine/resources/file_content.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/file_table.h"
#include "engine/resources/missing_folders.h"
#include "engine/resources/regular_file/hidden.h"
#include "engine/resources/status_flags.h"
#include "engine/resources/unsupported.h"
#include "engine/tree/nested_users.h"

namespace ncr::regular_file {
namespace {

constexpr const char* kStash = "unlinked file";
constexpr const char* kMaker = "unlinked file: the description that made it";

uint64_t nanoseconds(const timespec& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

timespec time_of(uint64_t ns) {
  return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

// Makes the thing under `path`; false if that name is taken.
Result<bool> make_at(const char* path, const schema::RegularFile& file) {
  Result<int> made(0);
  if (S_ISDIR(file.mode()))
    made = SYSCALL(::mkdir(path, 0700), "mkdir %s", path);
  else if (S_ISLNK(file.mode()))
    made = SYSCALL(::symlink(file.ghost().link_target().c_str(), path), "symlink %s", path);
  else
    made = SYSCALL(::mknod(path, S_IFREG | 0600, 0), "make the unlinked file %s again", path);
  if (made.ok()) return true;
  if (made.error().os_error() == EEXIST) return false;
  return std::move(made).take_error();
}

Result<std::string> make_somewhere(const schema::RegularFile& file, uint32_t id) {
  if (TRY(make_at(file.path().c_str(), file))) return std::string(file.path());
  for (int attempt = 0; attempt < 100; attempt++) {
    std::string beside = strf("%s.nativecr-%d-%u-%d", file.path().c_str(), ::getpid(), id, attempt);
    if (TRY(make_at(beside.c_str(), file))) return beside;
  }
  return Error::unsupported(strf("%s: no free name beside it", file.path().c_str()));
}

// What never had a name is made without one. The description that does it is the tree's own: its
// flags tell, and it can be given a name.
Result<Fd> make_temporary(FileRestorer& files, const schema::OpenFile& record) {
  const std::string& path = record.regular_file().path();
  const std::string folder = path.substr(0, path.rfind('/') + 1);
  const int flags = static_cast<int>(record.flags()) & (O_ACCMODE | O_TMPFILE);
  Fd made(TRY(SYSCALL(::open(folder.c_str(), flags | O_CLOEXEC, 0600),
                      "make a file without a name in %s", folder.c_str())));
  Fd any = TRY(reopen(made, O_PATH));
  files.stash(record.group_id(), kMaker, std::move(made));
  return any;
}

// O_PATH descriptors of a file being made: as the tree sees it, and, if that is through a mount
// that is read-only, through one that is not.
struct Made {
  Fd any;
  Fd writable;
  const Fd& to_fill() const { return writable.valid() ? writable : any; }
};

// A copy of the mount at `folder`, put in place nowhere.
Result<Fd> writable_copy(const std::string& folder) {
  Fd copy(TRY(SYSCALL(::open_tree(AT_FDCWD, folder.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC),
                      "open_tree %s", folder.c_str())));
  mount_attr attributes{};
  attributes.attr_clr = MOUNT_ATTR_RDONLY;
  TRY(SYSCALL(::mount_setattr(copy.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes),
              "make a copy of the mount at %s writable", folder.c_str()));
  return copy;
}

Result<Made> open_and_unlink(const std::string& path, const std::string& made_at, uint32_t mode) {
  Undo unlink(
      [&] { (void)::unlinkat(AT_FDCWD, made_at.c_str(), S_ISDIR(mode) ? AT_REMOVEDIR : 0); });
  Made made;
  made.any = TRY(sys::open(path.c_str(), O_PATH | O_NOFOLLOW));
  if (path != made_at) made.writable = TRY(sys::open(made_at.c_str(), O_PATH | O_NOFOLLOW));
  return made;
}

Result<Made> make_in_hidden_folder(FileRestorer& files, const schema::OpenFile& record) {
  const Fd folder = TRY(open_hidden(files, record));
  const std::string way = TRY(procfs::path_from_here(strf("self/fd/%d/", folder.get())));
  schema::RegularFile there = record.regular_file();
  there.set_path(way + there.path().substr(there.path().rfind('/') + 1));
  const std::string path = TRY(make_somewhere(there, record.id()));
  return open_and_unlink(path, path, there.mode());
}

Result<Made> make_on_read_only_mount(const schema::RegularFile& file, uint32_t id) {
  const std::string folder = file.path().substr(0, file.path().rfind('/') + 1);
  Fd copy = TRY(writable_copy(folder));
  const std::string writable = TRY(procfs::path_from_here(strf("self/fd/%d/", copy.get())));
  schema::RegularFile there = file;
  there.set_path(writable + file.path().substr(folder.size()));
  const std::string path = TRY(make_somewhere(there, id));
  return open_and_unlink(folder + path.substr(writable.size()), path, file.mode());
}

Result<Made> make_named(const schema::RegularFile& file, uint32_t id) {
  Result<std::string> path = make_somewhere(file, id);
  if (path.ok()) return open_and_unlink(path.value(), path.value(), file.mode());
  if (path.error().os_error() != EROFS) return path.take_error();
  Result<Made> made = make_on_read_only_mount(file, id);
  if (made.ok()) return made;
  return made.take_error().while_doing(path.error().text());
}

const schema::OpenFile* maker_of(const FileRestorer& files, const schema::OpenFile& record) {
  for (const schema::OpenFile* member : files.members(record.group_id()))
    if (is_temporary_file(member->flags())) return member;
  return nullptr;
}

// An O_PATH descriptor of the new file, which has no name (any more).
Result<Fd> make_as_we_are(FileRestorer& files, const schema::OpenFile& record) {
  const schema::RegularFile& file = record.regular_file();
  // Its folder may be gone as well.
  const bool hidden = files.hidden(record.id()) >= 0;
  MissingFolders folders = TRY(MissingFolders::above(hidden ? "" : file.path()));
  const schema::OpenFile* maker = maker_of(files, record);
  Made made;
  if (hidden)
    made = TRY(make_in_hidden_folder(files, record));
  else if (maker != nullptr)
    made.any = TRY(make_temporary(files, *maker));
  else
    made = TRY(make_named(file, record.id()));
  const Fd& any = made.to_fill();
  const schema::Ghost& ghost = file.ghost();
  if (S_ISREG(file.mode())) {
    Fd writable = TRY(reopen(any, O_WRONLY));
    TRY_WHILE(write_content(files.image(), ghost.content(), file.size(), file.path(), writable),
              "unlinked file %s", file.path().c_str());
  }
  TRY(SYSCALL(
      ::fchownat(any.get(), "", files.user(ghost.uid()), files.group(ghost.gid()), AT_EMPTY_PATH),
      "chown %s", file.path().c_str()));
  if (S_ISLNK(file.mode())) return std::move(made.any);
  const auto [directory, path] = procfs::at(strf("self/fd/%d", any.get()));
  TRY(SYSCALL(::fchmodat(directory, path.c_str(), file.mode() & 07777, 0), "chmod %s",
              file.path().c_str()));
  timespec times[2] = {time_of(ghost.accessed_ns()), time_of(ghost.modified_ns())};
  TRY(SYSCALL(::utimensat(directory, path.c_str(), times, 0), "utimensat %s", file.path().c_str()));
  return std::move(made.any);
}

Result<Fd> make(FileRestorer& files, const schema::OpenFile& record) {
  Result<Fd> made = make_as_we_are(files, record);
  if (made.ok() || made.error().os_error() != EOVERFLOW) return made;
  Fd hidden;
  std::string path = record.regular_file().path();
  if (files.hidden(record.id()) >= 0) {
    hidden = TRY(open_hidden(files, record));
    path = TRY(procfs::path_from_here(strf("self/fd/%d", hidden.get())));
  }
  const ActingAs acting = TRY(ActingAs::owner_above(path));
  return make_as_we_are(files, record);
}

}  // namespace

Result<> dump_ghost(FileTable& files, const FdProbe& probe, schema::OpenFile* record) {
  schema::RegularFile* file = record->mutable_regular_file();
  schema::Ghost* ghost = file->mutable_ghost();
  record->set_group_id(group_of(probe.stat.st_dev, probe.stat.st_ino));
  ghost->set_uid(probe.stat.st_uid);
  ghost->set_gid(probe.stat.st_gid);
  ghost->set_modified_ns(nanoseconds(probe.stat.st_mtim));
  ghost->set_accessed_ns(nanoseconds(probe.stat.st_atim));
  if (S_ISDIR(probe.stat.st_mode)) return {};
  if (S_ISLNK(probe.stat.st_mode)) {
    ghost->set_link_target(TRY(sys::read_link_at(probe.local, "")));
    return {};
  }
  if (!S_ISREG(probe.stat.st_mode))
    return Error::unsupported(strf("%s was deleted and is no ordinary file", probe.link.c_str()));
  if (TRY(file_system_of(probe.local)) == HUGETLBFS_MAGIC)
    return Error::unsupported(
        strf("%s was deleted, and cannot be written to a file system of huge pages",
             probe.link.c_str()));
  if (probe.stat.st_size == 0) return {};
  if (files.shared_memory() == nullptr)
    return Error::unsupported(strf("%s was deleted", probe.link.c_str()));
  Fd readable = TRY(reopen(probe.local, O_RDONLY));
  schema::SharedMemory description;
  description.set_unlinked_file(true);
  ghost->set_content(TRY(files.shared_memory()->add(std::move(readable), description)));
  return {};
}

Result<Fd> open_ghost(FileRestorer& files, const schema::OpenFile& record) {
  Fd any = files.take(record.group_id(), kStash);
  if (!any.valid()) any = TRY(make(files, record));
  Fd fd;
  if (is_temporary_file(record.flags())) fd = files.take(record.group_id(), kMaker);
  if (fd.valid()) {
    files.stash(record.group_id(), kStash, std::move(any));
    return fd;
  }
  if ((record.flags() & O_PATH) != 0 && S_ISLNK(record.regular_file().mode()))
    fd = Fd(TRY(SYSCALL(::fcntl(any.get(), F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC")));
  else
    fd = TRY(reopen(any, open_flags(record.flags())));
  files.stash(record.group_id(), kStash, std::move(any));
  return fd;
}

}  // namespace ncr::regular_file
