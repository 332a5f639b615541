// A pipe is an inode of pipefs with a ring of buffers; each end is a description with flags of its
// own, and an end may have several descriptions (reopened through /proc). All of one pipe are made
// by one task (group_id), from one pipe2(): its ends become the first reader and the first writer,
// further ones are opened through /proc/self/fd. Userspace cannot see who holds the other end;
// poll() tells whether anybody does. If that is nobody in the tree, the end leads outside: standard
// input or output is then taken from the engine's own at restore, or whatever the caller gives for
// "pipe:[inode]" (docs/adr/0006), or it is the kernel that writes (autofs). dump runs in the
// engine, open in the child.
#include "engine/resources/pipe/pipe.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <unistd.h>

#include <map>
#include <set>

#include "arch_current/open_flags.h"
#include "engine/resources/autofs/autofs.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/file_table.h"
#include "engine/resources/status_flags.h"

namespace ncr::pipe {
namespace {

constexpr const char* kReadEnd = "pipe read end";
constexpr const char* kWriteEnd = "pipe write end";
constexpr const char* kAnyEnd = "pipe to reopen";

bool reads(const schema::OpenFile& file) { return (file.flags() & O_ACCMODE) != O_WRONLY; }
bool writes(const schema::OpenFile& file) { return (file.flags() & O_ACCMODE) != O_RDONLY; }

bool recognises(const FdProbe& probe) {
  return S_ISFIFO(probe.stat.st_mode) && probe.link.starts_with("pipe:[") &&
         (probe.flags & O_PATH) == 0;
}

// Whether the other direction is open anywhere on the machine.
Result<bool> has_other_side(const FdProbe& probe) {
  pollfd ask{probe.local.get(), POLLIN | POLLOUT, 0};
  TRY(SYSCALL(::poll(&ask, 1, 0), "poll"));
  return (ask.revents & (POLLHUP | POLLERR)) == 0;
}

Result<> dump(FileTable& files, const FdProbe& probe, schema::OpenFile* record) {
  schema::Pipe* pipe = record->mutable_pipe();
  record->set_group_id(group_of(probe.stat.st_dev, probe.stat.st_ino));
  pipe->set_inode(probe.stat.st_ino);
  bool other = TRY(has_other_side(probe));
  pipe->set_has_reader(reads(*record) || other);
  pipe->set_has_writer(writes(*record) || other);
  for (const schema::OpenFile* file : files.records())
    if (file->id() != record->id() && file->group_id() == record->group_id() && file->has_pipe())
      return {};
  return dump_content(probe.local, pipe->mutable_content());
}

Result<> check(const std::vector<SeenFile>& all, const DumpRequest&, Blockers& blockers) {
  std::set<uint64_t> stdio;  // pipes that some task has there: others may be opened from it
  std::map<uint32_t, const schema::OpenFile*> files;
  for (const SeenFile& seen : all) {
    if (!seen.record->has_pipe()) continue;
    files.emplace(seen.record->id(), seen.record);
    if (seen.holder != nullptr && raw(seen.number) <= STDERR_FILENO)
      stdio.insert(seen.record->group_id());
  }
  std::vector<const schema::OpenFile*> each;
  for (const auto& [id, file] : files) each.push_back(file);
  for (uint32_t id : cut_off(each)) {
    if (stdio.contains(files[id]->group_id())) continue;
    for (const SeenFile& seen : all)
      if (seen.record->id() == id && seen.holder != nullptr &&
          !autofs::is_fed(*seen.holder, seen.record->pipe().inode()))
        blockers.add(
            *seen.holder, strf("fd %d (%s)", raw(seen.number), seen.record->path().c_str()),
            "a process outside the tree holds the other end of this pipe",
            "dump a tree that holds both ends; only standard input and output may lead outside");
  }
  return {};
}

const schema::PipeContent* content_of(const FileRestorer& files, uint64_t group) {
  for (const auto& [id, file] : files.image().files)
    if (file.group_id() == group && file.has_pipe() && file.pipe().has_content())
      return &file.pipe().content();
  return nullptr;
}

Result<> make_pipe(FileRestorer& files, uint64_t group) {
  int ends[2];
  TRY(SYSCALL(::pipe2(ends, O_CLOEXEC), "pipe2"));
  Fd read(ends[0]);
  Fd write(ends[1]);
  if (const schema::PipeContent* content = content_of(files, group)) TRY(fill(write, *content));
  Fd any(TRY(SYSCALL(::fcntl(read.get(), F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC")));
  files.stash(group, kReadEnd, std::move(read));
  files.stash(group, kWriteEnd, std::move(write));
  files.stash(group, kAnyEnd, std::move(any));
  return {};
}

// The lowest of descriptors 0, 1 and 2 that the image has this end of the pipe at, -1 if none: a
// program may open its standard output once more (/dev/stdout).
int stdio_number(const Image& image, const schema::OpenFile& end) {
  int lowest = -1;
  for (const schema::Task& task : image.tasks)
    for (const schema::Descriptor& descriptor : task.descriptors()) {
      if (descriptor.number() > STDERR_FILENO || (lowest >= 0 && descriptor.number() >= lowest))
        continue;
      const schema::OpenFile& file = image.files.at(descriptor.file_id());
      if (file.has_pipe() && file.group_id() == end.group_id() && writes(file) == writes(end))
        lowest = descriptor.number();
    }
  return lowest;
}

// A file of the caller's for an end that leads outside the tree; invalid if the pipe is whole.
Result<Fd> from_outside(const FileRestorer& files, const schema::OpenFile& record) {
  std::string name = strf("pipe:[%llu]", static_cast<unsigned long long>(record.pipe().inode()));
  for (const InheritedFd& inherited : files.request().inherited)
    if (inherited.key == name)
      return Fd(TRY(SYSCALL(::fcntl(inherited.fd, F_DUPFD_CLOEXEC, 0),
                            "the descriptor %d given for %s", inherited.fd, name.c_str())));
  std::vector<const schema::OpenFile*> group;
  for (const auto& [id, file] : files.image().files)
    if (file.has_pipe() && file.group_id() == record.group_id()) group.push_back(&file);
  if (cut_off(group).empty() || autofs::is_fed(files.image(), record.pipe().inode())) return Fd();
  int number = stdio_number(files.image(), record);
  if (number < 0)
    return Error::unsupported(
        strf("the other end of %s was held by a process outside the tree; give a descriptor to "
             "take its place",
             name.c_str()));
  return Fd(TRY(SYSCALL(::fcntl(number, F_DUPFD_CLOEXEC, 0),
                        "our own descriptor %d, to take the place of %s", number, name.c_str())));
}

Result<Fd> open(FileRestorer& files, const schema::OpenFile& record) {
  Fd outside = TRY(from_outside(files, record));
  if (outside.valid()) return outside;
  uint64_t group = record.group_id();
  Fd any = files.take(group, kAnyEnd);
  if (!any.valid()) {
    TRY(make_pipe(files, group));
    any = files.take(group, kAnyEnd);
  }
  Fd fd;
  // Only open() sets O_LARGEFILE: such a description was opened through /proc, not made by pipe2().
  bool made_by_pipe = (record.flags() & arch::kLargeFile) == 0;
  if (made_by_pipe && !writes(record)) fd = files.take(group, kReadEnd);
  if (made_by_pipe && !reads(record)) fd = files.take(group, kWriteEnd);
  if (!fd.valid()) fd = TRY(reopen(any, static_cast<int>(record.flags() & O_ACCMODE) | O_NONBLOCK));
  files.stash(group, kAnyEnd, std::move(any));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace

std::vector<uint32_t> cut_off(const std::vector<const schema::OpenFile*>& files) {
  struct Ends {
    bool readers = false;
    bool writers = false;
  };
  std::map<uint64_t, Ends> groups;
  for (const schema::OpenFile* file : files) {
    if (!file->has_pipe()) continue;
    groups[file->group_id()].readers |= reads(*file);
    groups[file->group_id()].writers |= writes(*file);
  }
  std::vector<uint32_t> ids;
  for (const schema::OpenFile* file : files) {
    if (!file->has_pipe()) continue;
    const Ends& ends = groups[file->group_id()];
    if ((file->pipe().has_reader() && !ends.readers) ||
        (file->pipe().has_writer() && !ends.writers))
      ids.push_back(file->id());
  }
  return ids;
}

extern const FdRoom kRoom = {.name = "pipe",
                             .kind = schema::OpenFile::kPipe,
                             .recognises = recognises,
                             .dump = dump,
                             .check = check,
                             .open = open};

}  // namespace ncr::pipe
