// An inotify instance is a set of watches, each a number (wd), an inode and a mask, and a queue of
// events. fdinfo shows watches with a file handle: open_by_handle_at() through any mount of that
// file system finds the inode, and its link the path. The numbers are kept (INOTIFY_IOC_SETNEXTWD,
// Linux 4.16). Events that wait unread cannot be read without taking them out, nor put back: they
// are lost, and the restore warns of it. A dump does not refuse for that: a busy directory would
// then never be dumped, and the programs that watch one look again at the next event. dump runs in
// the engine, open and connect in the child.
#include "engine/resources/inotify/inotify.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "engine/base/procfs.h"
#include "engine/base/undo.h"
#include "engine/resources/fdinfo.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/file_table.h"
#include "engine/resources/in_flight.h"
#include "engine/resources/status_flags.h"
#include "engine/resources/watched_path.h"

namespace ncr::inotify {
namespace {

bool recognises(const FdProbe& probe) { return probe.link == "anon_inode:inotify"; }

struct Found {
  std::string path;
  const MountView* elsewhere = nullptr;  // where the path leads there; null: where the holder is
};

// Where the holder looks, or where another process of the tree does.
Result<Found> find(const FdProbe& probe, const InotifyWatch& watch) {
  const MountView own;
  Result<std::string> path = path_of_watched(probe.view != nullptr ? *probe.view : own, watch.file);
  if (path.ok()) return Found{path.take(), nullptr};
  if (probe.views == nullptr) return path.take_error();
  for (const MountView* view : probe.views->others()) {
    Result<std::string> there = path_of_watched(*view, watch.file);
    if (there.ok()) return Found{there.take(), view};
  }
  return path.take_error();
}

// A descriptor of the task for what is watched; -1 if it has none.
Result<int> open_here(const FdProbe& probe, const InotifyWatch& watch) {
  if (probe.task == nullptr) return -1;
  Fd fd = TRY(sys::open_at(probe.task->proc, "fd", O_RDONLY | O_DIRECTORY));
  DIR* dir = ::fdopendir(fd.get());
  if (dir == nullptr) return Error::system(ENOMEM, "fdopendir");
  (void)fd.release();
  Undo close([dir] { ::closedir(dir); });
  while (const dirent* entry = ::readdir(dir)) {
    struct stat file {};
    if (::fstatat(::dirfd(dir), entry->d_name, &file, 0) == 0 && file.st_nlink == 0 &&
        file.st_ino == watch.file.inode && kernel_device(file.st_dev) == watch.file.device)
      return std::atoi(entry->d_name);
  }
  return -1;
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  std::vector<InotifyWatch> watches = TRY(parse_inotify(probe.fdinfo));
  for (const InotifyWatch& watch : watches) {
    Result<Found> found = find(probe, watch);
    if (!found.ok() && TRY(open_here(probe, watch)) < 0)
      blockers.add(*probe.task,
                   strf("fd %d: inotify watch %d, inode %llu", raw(probe.number), watch.descriptor,
                        static_cast<unsigned long long>(watch.file.inode)),
                   "the path it watches cannot be found: " + found.error().text(),
                   "remove the watch before the dump");
  }
  return {};
}

Result<> dump_watch(FileTable& files, const FdProbe& probe, const InotifyWatch& watch,
                    schema::OpenFile* record) {
  schema::InotifyWatch* entry = record->mutable_inotify()->add_watches();
  entry->set_descriptor(watch.descriptor);
  entry->set_mask(watch.mask);
  Result<Found> found = find(probe, watch);
  if (found.ok() && found.value().elsewhere == nullptr) {
    entry->set_path(found.value().path);
    return {};
  }
  if (found.ok()) {
    Fd there = TRY(found.value().elsewhere->open(found.value().path, O_PATH | O_NOFOLLOW));
    entry->set_file_id(TRY(files.add_local(std::move(there))));
  } else {
    const int number = TRY(open_here(probe, watch));
    if (number < 0) return found.take_error();
    entry->set_file_id(TRY(files.id_of(*probe.task, FdNumber{number})));
  }
  record->add_depends_on(entry->file_id());
  return {};
}

Result<> dump(FileTable& files, const FdProbe& probe, schema::OpenFile* record) {
  schema::Inotify* inotify = record->mutable_inotify();
  std::vector<InotifyWatch> watches = TRY(parse_inotify(probe.fdinfo));
  std::sort(watches.begin(), watches.end(), [](const InotifyWatch& a, const InotifyWatch& b) {
    return a.descriptor < b.descriptor;
  });
  for (const InotifyWatch& watch : watches) {
    TRY_WHILE(dump_watch(files, probe, watch, record), "watch %d, inode %llu", watch.descriptor,
              static_cast<unsigned long long>(watch.file.inode));
  }
  int unread = 0;
  TRY(SYSCALL(::ioctl(probe.local.get(), FIONREAD, &unread), "FIONREAD"));
  inotify->set_unread_bytes(static_cast<uint32_t>(unread));
  return {};
}

Result<Fd> open(FileRestorer&, const schema::OpenFile& record) {
  Fd fd(TRY(SYSCALL(::inotify_init1(IN_CLOEXEC), "inotify_init1")));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

// The path was resolved to the end: if a symbolic link is there, the link itself is watched.
uint32_t mask_of(const schema::InotifyWatch& watch) { return watch.mask() | IN_DONT_FOLLOW; }

Result<> add_watch(const Fd& fd, const schema::InotifyWatch& watch, const std::string& path,
                   uint32_t mask) {
  TRY(SYSCALL(::ioctl(fd.get(), _IOW('I', 0, int32_t), watch.descriptor()),
              "INOTIFY_IOC_SETNEXTWD"));
  TRY(SYSCALL(::inotify_add_watch(fd.get(), path.c_str(), mask), "watch %s", path.c_str()));
  return {};
}

Result<> connect(FileRestorer& files, const schema::OpenFile& record, const Fd& fd) {
  const schema::Inotify& inotify = record.inotify();
  if (inotify.unread_bytes() != 0)
    files.request().callbacks.log.warning(
        "inotify: events that were not read before the dump (%u bytes) are lost",
        inotify.unread_bytes());
  bool now = !has_number(files.image(), record.id());
  for (const schema::InotifyWatch& watch : inotify.watches()) {
    if (watch.file_id() != 0) {
      const int number = TRY(files.opened(watch.file_id()));
      const std::string path = TRY(procfs::path_from_here(strf("self/fd/%d", number)));
      TRY(add_watch(fd, watch, path, watch.mask()));
      continue;
    }
    struct stat there {};
    TRY_WHILE(SYSCALL(::lstat(watch.path().c_str(), &there), "stat %s", watch.path().c_str()),
              "watch %d", watch.descriptor());
    if (now) TRY(add_watch(fd, watch, watch.path(), mask_of(watch)));
  }
  return {};
}

Result<> late(const schema::OpenFile& record, FdNumber number, StepList& steps) {
  for (const schema::InotifyWatch& watch : record.inotify().watches()) {
    if (watch.file_id() != 0) continue;
    AddWatch step{};
    step.fd = raw(number);
    step.descriptor = watch.descriptor();
    step.mask = mask_of(watch);
    step.path_size = static_cast<uint32_t>(watch.path().size() + 1);
    steps.add(wire::Stage::kLate, step, watch.path() + '\0');
  }
  return {};
}

}  // namespace

extern const FdRoom kRoom = {.name = "inotify",
                             .kind = schema::OpenFile::kInotify,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .open = open,
                             .connect = connect,
                             .late = late};

}  // namespace ncr::inotify
