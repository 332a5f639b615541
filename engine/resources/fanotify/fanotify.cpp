// A group of fanotify is a set of marks, each on an inode, a mount or a whole file system with a
// mask of events and one of events to be ignored, and a queue of events. fdinfo shows the flags of
// the group and all marks, an inode by its file handle. Events that wait unread are lost, with a
// warning, as those of inotify are. A group that decides on permissions (FAN_CLASS_CONTENT and
// FAN_CLASS_PRE_CONTENT) is refused: which events were read and not answered cannot be seen. dump
// runs in the engine, open in the child, the marks are put by the restorer.
#include "engine/resources/fanotify/fanotify.h"

#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "engine/resources/fdinfo.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/status_flags.h"
#include "engine/resources/watched_path.h"

namespace ncr::fanotify {
namespace {

constexpr uint32_t kMarkIgnore = 0x400;     // FAN_MARK_IGNORE, 6.0
constexpr uint32_t kMarkEvictable = 0x200;  // FAN_MARK_EVICTABLE, 5.19
constexpr uint32_t kUserFlags = FAN_MARK_IGNORED_SURV_MODIFY | kMarkIgnore | kMarkEvictable;
constexpr uint32_t kClasses = FAN_CLASS_CONTENT | FAN_CLASS_PRE_CONTENT;

bool recognises(const FdProbe& probe) { return probe.link == "anon_inode:[fanotify]"; }

const MountView& view_of(const FdProbe& probe) {
  static const MountView own;
  return probe.view != nullptr ? *probe.view : own;
}

Result<std::string> path_on(const MountView& view, const FanotifyMark& mark) {
  switch (mark.kind) {
    case FanotifyMark::Kind::kInode:
      return path_of_watched(view, mark.file);
    case FanotifyMark::Kind::kMount:
      return path_of_mount(view, mark.mount_id);
    case FanotifyMark::Kind::kFileSystem:
      return path_of_file_system(view, mark.file.device);
    case FanotifyMark::Kind::kOther:
      break;
  }
  return Error::unsupported("it is on something else than an inode, a mount or a file system");
}

std::string name_of(const FanotifyMark& mark) {
  switch (mark.kind) {
    case FanotifyMark::Kind::kInode:
      return strf("inode %llu", static_cast<unsigned long long>(mark.file.inode));
    case FanotifyMark::Kind::kMount:
      return strf("mount %d", mark.mount_id);
    default:
      return strf("device %llu:%llu", static_cast<unsigned long long>(mark.file.device >> 20),
                  static_cast<unsigned long long>(mark.file.device & 0xfffff));
  }
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  const FanotifyInfo info = TRY(parse_fanotify(probe.fdinfo));
  const std::string object = strf("fd %d: fanotify", raw(probe.number));
  if ((info.init_flags & kClasses) != 0)
    blockers.add(*probe.task, object,
                 "it decides on permissions, and which events it has yet to answer cannot be seen",
                 "stop the program that watches before the dump");
  for (const FanotifyMark& mark : info.marks) {
    Result<std::string> path = path_on(view_of(probe), mark);
    if (!path.ok())
      blockers.add(*probe.task, strf("%s mark on %s", object.c_str(), name_of(mark).c_str()),
                   "where that is cannot be found: " + path.error().text(),
                   "remove the mark before the dump");
  }
  return {};
}

schema::FanotifyMarkKind kind_of(FanotifyMark::Kind kind) {
  if (kind == FanotifyMark::Kind::kMount) return schema::FANOTIFY_MARK_MOUNT;
  if (kind == FanotifyMark::Kind::kFileSystem) return schema::FANOTIFY_MARK_FILESYSTEM;
  return schema::FANOTIFY_MARK_INODE;
}

Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  const FanotifyInfo info = TRY(parse_fanotify(probe.fdinfo));
  if ((info.init_flags & kClasses) != 0)
    return Error::unsupported("a group of fanotify that decides on permissions");
  schema::Fanotify* group = record->mutable_fanotify();
  group->set_init_flags(info.init_flags);
  group->set_event_flags(info.event_flags);
  for (const FanotifyMark& mark : info.marks) {
    schema::FanotifyMark* entry = group->add_marks();
    entry->set_kind(kind_of(mark.kind));
    entry->set_flags(mark.flags);
    entry->set_mask(mark.mask);
    entry->set_ignored_mask(mark.ignored_mask);
    entry->set_path(TRY_WHILE(path_on(view_of(probe), mark), "mark on %s", name_of(mark).c_str()));
  }
  int unread = 0;
  TRY(SYSCALL(::ioctl(probe.local.get(), FIONREAD, &unread), "FIONREAD"));
  group->set_unread_bytes(static_cast<uint32_t>(unread));
  return {};
}

Result<Fd> open(FileRestorer& files, const schema::OpenFile& record) {
  const schema::Fanotify& group = record.fanotify();
  if (group.unread_bytes() != 0)
    files.request().callbacks.log.warning(
        "fanotify: events that were not read before the dump (%u bytes) are lost",
        group.unread_bytes());
  Fd fd(TRY(SYSCALL(::fanotify_init(group.init_flags(), group.event_flags()),
                    "fanotify_init 0x%x (it takes CAP_SYS_ADMIN)", group.init_flags())));
  TRY(SYSCALL(::fcntl(fd.get(), F_SETFD, FD_CLOEXEC), "F_SETFD"));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

Result<uint32_t> flags_of(const schema::FanotifyMark& mark) {
  if ((mark.flags() & ~kUserFlags) != 0)
    return Error::malformed(strf("a mark of fanotify with the flags 0x%x", mark.flags()));
  uint32_t flags = FAN_MARK_ADD | mark.flags();
  if ((flags & kMarkIgnore) == 0) flags |= FAN_MARK_IGNORED_MASK;
  switch (mark.kind()) {
    case schema::FANOTIFY_MARK_INODE:
      return flags | FAN_MARK_DONT_FOLLOW;
    case schema::FANOTIFY_MARK_MOUNT:
      return flags | FAN_MARK_MOUNT;
    case schema::FANOTIFY_MARK_FILESYSTEM:
      return flags | FAN_MARK_FILESYSTEM;
    default:
      return Error::malformed("a mark of fanotify on nothing that is known");
  }
}

// In the child what is missing is told by its path.
Result<> connect(FileRestorer&, const schema::OpenFile& record, const Fd&) {
  for (const schema::FanotifyMark& mark : record.fanotify().marks()) {
    struct stat there {};
    TRY(flags_of(mark));
    TRY(SYSCALL(::lstat(mark.path().c_str(), &there), "find what is watched, %s",
                mark.path().c_str()));
  }
  return {};
}

Result<> late(const schema::OpenFile& record, FdNumber number, StepList& steps) {
  for (const schema::FanotifyMark& mark : record.fanotify().marks()) {
    AddMark step{};
    step.fd = raw(number);
    step.flags = TRY(flags_of(mark));
    step.mask = mark.mask();
    step.ignored_mask = mark.ignored_mask();
    step.path_size = static_cast<uint32_t>(mark.path().size() + 1);
    steps.add(wire::Stage::kLate, step, mark.path() + '\0');
  }
  return {};
}

}  // namespace

extern const FdRoom kRoom = {.name = "fanotify",
                             .kind = schema::OpenFile::kFanotify,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .open = open,
                             .connect = connect,
                             .late = late};

}  // namespace ncr::fanotify
