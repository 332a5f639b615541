// Device nodes: a driver behind a file. Those of the memory driver (null, zero, full, random,
// urandom) keep no state per description, so opening the same node again is all there is; any other
// driver may keep anything, unseen, and is refused by name. Terminals have a room of their own.
// recognises, preflight and dump run in the engine, open in the child.
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "engine/base/deleted_mark.h"
#include "engine/base/undo.h"
#include "engine/resources/device/device.h"
#include "engine/resources/missing_folders.h"
#include "engine/resources/status_flags.h"

namespace ncr::device {
namespace {

struct Driver {
  unsigned major;
  int minor;  // -1: any
  const char* name;
  const char* way_out;
};

constexpr Driver kKnownDrivers[] = {
    {10, 229, "FUSE connection (/dev/fuse)", "unmount the file system first"},
    {10, 232, "virtual machine (/dev/kvm)", "save the machine with its own monitor"},
    {10, 228, "high precision timer (/dev/hpet)", "close it before the dump"},
    {1, 1, "physical memory (/dev/mem)", "close it before the dump"},
    {1, 11, "kernel log (/dev/kmsg)", "close it before the dump"},
    {13, -1, "input device", "close it before the dump"},
    {29, -1, "frame buffer", "close it before the dump"},
    {116, -1, "sound device", "close it before the dump"},
    {195, -1, "NVIDIA GPU", "have the program give up the GPU before the dump"},
    {226, -1, "GPU (/dev/dri)", "have the program give up the GPU before the dump"},
};

bool is_device(const FdProbe& probe) {
  return S_ISCHR(probe.stat.st_mode) || S_ISBLK(probe.stat.st_mode);
}

bool is_terminal(const FdProbe& probe) {
  unsigned number = major(probe.stat.st_rdev);
  if (number == 4 || number == 5 || (number >= 136 && number <= 143)) return true;
  termios state{};
  return S_ISCHR(probe.stat.st_mode) && number != 1 && ::tcgetattr(probe.local.get(), &state) == 0;
}

bool recognises(const FdProbe& probe) {
  return is_device(probe) && (probe.flags & O_PATH) == 0 && !is_terminal(probe);
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  if (!is_stateless(probe.stat.st_mode, probe.stat.st_rdev)) {
    Refusal refusal = refuse(probe.stat.st_mode, probe.stat.st_rdev);
    blockers.add(
        *probe.task,
        strf("fd %d: %s (%s)", raw(probe.number), refusal.name.c_str(), probe.link.c_str()),
        "its driver keeps state that userspace cannot see", refusal.way_out);
  }
  return {};
}

Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  if (!is_stateless(probe.stat.st_mode, probe.stat.st_rdev))
    return Error::unsupported(strf("%s keeps state that userspace cannot see",
                                   refuse(probe.stat.st_mode, probe.stat.st_rdev).name.c_str()));
  schema::Device* device = record->mutable_device();
  device->set_path(probe.link);
  device->set_unlinked(probe.stat.st_nlink == 0 && drop_deleted_mark(device->mutable_path()));
  device->set_mode(probe.stat.st_mode);
  device->set_major(major(probe.stat.st_rdev));
  device->set_minor(minor(probe.stat.st_rdev));
  return {};
}

// A node that is made for a moment, beside whatever has its name now.
Result<Fd> open_unlinked(const schema::OpenFile& record) {
  const schema::Device& device = record.device();
  MissingFolders folders = TRY(MissingFolders::above(device.path()));
  const std::string path =
      strf("%s.nativecr-%d-%u", device.path().c_str(), ::getpid(), record.id());
  TRY(SYSCALL(::mknod(path.c_str(), device.mode(), makedev(device.major(), device.minor())),
              "make the unlinked node %s again", path.c_str()));
  Undo unlink([&] { ::unlink(path.c_str()); });
  return sys::open(path.c_str(), open_flags(record.flags()) | O_NOCTTY);
}

Result<Fd> open_node(const schema::OpenFile& record) {
  if (record.device().unlinked()) return open_unlinked(record);
  return sys::open(record.device().path().c_str(), open_flags(record.flags()) | O_NOCTTY);
}

Result<Fd> open(FileRestorer&, const schema::OpenFile& record) {
  const schema::Device& device = record.device();
  Fd fd = TRY(open_node(record));
  struct stat now {};
  TRY(SYSCALL(::fstat(fd.get(), &now), "fstat %s", device.path().c_str()));
  if ((now.st_mode & S_IFMT) != (device.mode() & S_IFMT) ||
      now.st_rdev != makedev(device.major(), device.minor()))
    return Error::unsupported(
        strf("%s is not device %u:%u any more; create the node again with mknod",
             device.path().c_str(), device.major(), device.minor()));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace

bool is_stateless(mode_t mode, dev_t device) {
  constexpr unsigned kMemoryDriver = 1;
  unsigned number = minor(device);
  if (S_ISCHR(mode) && device == makedev(10, 235)) return true;  // autofs: commands name a mount
  return S_ISCHR(mode) && major(device) == kMemoryDriver &&
         (number == 3 || number == 5 || (number >= 7 && number <= 9));
}

Refusal refuse(mode_t mode, dev_t device) {
  if (S_ISCHR(mode))
    for (const Driver& driver : kKnownDrivers)
      if (driver.major == major(device) &&
          (driver.minor < 0 || static_cast<unsigned>(driver.minor) == minor(device)))
        return {driver.name, driver.way_out};
  return {
      strf("%s device %u:%u", S_ISBLK(mode) ? "block" : "character", major(device), minor(device)),
      "close it before the dump"};
}

extern const FdRoom kRoom = {.name = "device",
                             .kind = schema::OpenFile::kDevice,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .open = open};

}  // namespace ncr::device
