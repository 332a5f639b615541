// Writes an image directory. Runs in the engine, while the tree is frozen.
//
// A reader takes inventory.img as the sign of a complete image, so it must not exist before
// everything else is on disk: files are synced, the inventory is written under a temporary name and
// synced, renamed, and the directory is synced. The directory is locked with flock(2), which the
// kernel drops with the last descriptor: a killed engine leaves no stale lock, only files without
// an inventory.
#include "engine/image/image_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "engine/image/record_file.h"

namespace ncr {
namespace {

// The pid that holds the flock of this directory, from /proc/locks; 0 if it cannot be seen (another
// pid namespace).
pid_t flock_holder(const Fd& dir) {
  struct stat status {};
  if (::fstat(dir.get(), &status) != 0) return 0;
  Result<std::string> locks = sys::read_file("/proc/locks");
  if (!locks.ok()) return 0;
  const char* line = locks.value().c_str();
  while (line != nullptr && *line != 0) {
    int pid = 0;
    unsigned device_major = 0;
    unsigned device_minor = 0;
    uint64_t inode = 0;
    int fields = std::sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%" SCNu64, &pid, &device_major,
                             &device_minor, &inode);
    if (fields == 4 && inode == status.st_ino &&
        makedev(device_major, device_minor) == status.st_dev) {
      return pid > 0 ? pid : 0;
    }
    line = std::strchr(line, '\n');
    if (line != nullptr) line++;
  }
  return 0;
}

// What ends the path "a/b/c" lies in "a/b".
std::string parent_of(const std::string& path) {
  size_t end = path.find_last_not_of('/');
  size_t slash = end == std::string::npos ? end : path.find_last_of('/', end);
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Error explain_no_room(Error error, const std::string& path) {
  if (error.os_error() != ENOSPC && error.os_error() != EDQUOT) return error;
  return std::move(error).while_doing(
      strf("no room left for the image in %s (choose a directory on a larger file system)",
           path.c_str()));
}

ImageDir::ImageDir(Fd dir, std::string path, bool made_dir)
    : dir_(std::move(dir)), path_(std::move(path)), made_dir_(made_dir) {}

ImageDir::~ImageDir() {
  if (!dir_.valid() || committed_) return;
  if (inventory_begun_) {
    (void)::unlinkat(dir_.get(), kInventoryFile, 0);  // first: from here on it is no image
    (void)::unlinkat(dir_.get(), kNewInventoryFile, 0);
  }
  for (const Made& file : files_) (void)::unlinkat(dir_.get(), file.name.c_str(), 0);
  if (linked_parent_) (void)::unlinkat(dir_.get(), kParentLink, 0);
  if (made_dir_) (void)::rmdir(path_.c_str());
}

Result<ImageDir> ImageDir::create(const std::string& path, PagesAt pages) {
  if (path.empty()) return Error::usage("no image directory was named");
  Result<int> made =
      SYSCALL(::mkdir(path.c_str(), 0700), "create image directory %s", path.c_str());
  if (!made.ok() && made.error().os_error() != EEXIST) return made.take_error();
  Result<Fd> dir = sys::open(path.c_str(), O_RDONLY | O_DIRECTORY);
  if (!dir.ok()) {
    if (made.ok()) (void)::rmdir(path.c_str());
    return dir.take_error();
  }
  ImageDir images(dir.take(), path, made.ok());
  TRY(images.lock());
  TRY(images.refuse_leftovers(pages));
  return images;
}

Result<> ImageDir::lock() {
  Result<int> locked = SYSCALL(::flock(dir_.get(), LOCK_EX | LOCK_NB), "lock %s", path_.c_str());
  if (locked.ok()) return {};
  made_dir_ = false;  // it is the other engine's as well
  if (locked.error().os_error() != EWOULDBLOCK) return locked.take_error();
  pid_t holder = flock_holder(dir_);
  std::string who = holder > 0 ? strf("process %d", holder) : std::string("another engine");
  return Error::usage(strf("%s is being written by %s: wait for it, or choose another directory",
                           path_.c_str(), who.c_str()));
}

Result<> ImageDir::refuse_leftovers(PagesAt pages) {
  for (const char* name : {kInventoryFile, kTasksFile, kFilesFile, kSharedMemoryFile, kPagemapFile,
                           kPageHashesFile, kPagesFile}) {
    if (name == kPagesFile && pages == PagesAt::kServer) continue;
    struct stat status {};
    if (::fstatat(dir_.get(), name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (name == kInventoryFile) {
      return Error::usage(
          strf("%s holds an image already: remove it, or choose another directory", path_.c_str()));
    }
    return Error::usage(
        strf("%s/%s is left over from a dump that did not finish: remove it, or choose another "
             "directory",
             path_.c_str(), name));
  }
  return {};
}

// Nothing may fail between the file's creation and its entry in files_: the destructor knows no
// other.
Result<> ImageDir::create_file(const std::string& name, std::string checksum) {
  Result<Fd> fd = sys::open_at(dir_, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (!fd.ok()) return explain_no_room(fd.take_error().while_doing(path_), path_);
  files_.push_back({name, fd.take(), std::move(checksum)});
  return {};
}

Result<> ImageDir::write_records(const std::string& name,
                                 const std::vector<const google::protobuf::MessageLite*>& records) {
  std::string bytes = TRY(build_record_file(name, records));
  TRY(create_file(name, checksum_of(bytes)));
  Result<> written = sys::write_all(files_.back().fd, bytes.data(), bytes.size());
  if (written.ok()) return {};
  return explain_no_room(written.take_error().while_doing(path_ + "/" + name), path_);
}

void ImageDir::add_elsewhere(const std::string& name, uint64_t size) {
  elsewhere_.push_back({name, size});
}

Result<> ImageDir::link_parent(const std::string& parent) {
  struct stat old {};
  if (::fstatat(dir_.get(), kParentLink, &old, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(old.st_mode))
    TRY(SYSCALL(::unlinkat(dir_.get(), kParentLink, 0), "remove %s/%s", path_.c_str(),
                kParentLink));
  TRY(SYSCALL(::symlinkat(parent.c_str(), dir_.get(), kParentLink), "link %s/%s to %s",
              path_.c_str(), kParentLink, parent.c_str()));
  linked_parent_ = true;
  return {};
}

Result<Fd> ImageDir::create_raw(const std::string& name) {
  TRY(create_file(name, {}));
  int copy = TRY(SYSCALL(::fcntl(files_.back().fd.get(), F_DUPFD_CLOEXEC, 0), "dup %s/%s",
                         path_.c_str(), name.c_str()));
  return Fd(copy);
}

Result<> ImageDir::list_files(schema::Inventory* inventory) {
  inventory->clear_files();
  for (const Made& file : files_) {
    struct stat status {};
    TRY(SYSCALL(::fstat(file.fd.get(), &status), "stat %s/%s", path_.c_str(), file.name.c_str()));
    schema::FileEntry* entry = inventory->add_files();
    entry->set_name(file.name);
    entry->set_size(static_cast<uint64_t>(status.st_size));
    entry->set_xxh3_128(file.checksum);
  }
  for (const Elsewhere& file : elsewhere_) {
    schema::FileEntry* entry = inventory->add_files();
    entry->set_name(file.name);
    entry->set_size(file.size);
  }
  return {};
}

Result<> ImageDir::sync_files() {
  // Writeback of all of them is started before the first is waited for.
  for (const Made& file : files_) {
    (void)::sync_file_range(file.fd.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
  }
  for (const Made& file : files_) {
    Result<int> synced =
        SYSCALL(::fdatasync(file.fd.get()), "sync %s/%s", path_.c_str(), file.name.c_str());
    if (!synced.ok()) return explain_no_room(synced.take_error(), path_);
  }
  return {};
}

Result<> ImageDir::publish(const std::string& inventory) {
  inventory_begun_ = true;
  Fd fd = TRY_WHILE(
      sys::open_at(dir_, kNewInventoryFile, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600), "%s",
      path_.c_str());
  Result<> written = sys::write_all(fd, inventory.data(), inventory.size());
  if (!written.ok()) {
    return explain_no_room(written.take_error().while_doing(path_ + "/" + kInventoryFile), path_);
  }
  TRY(SYSCALL(::fdatasync(fd.get()), "sync %s/%s", path_.c_str(), kInventoryFile));
  // The other names must be on disk before the inventory's: one sync of the directory for them ...
  TRY(SYSCALL(::fsync(dir_.get()), "sync %s", path_.c_str()));
  if (made_dir_) {
    std::string parent = parent_of(path_);
    Fd above = TRY(sys::open(parent.c_str(), O_RDONLY | O_DIRECTORY));
    TRY(SYSCALL(::fsync(above.get()), "sync %s", parent.c_str()));
  }
  TRY(SYSCALL(::renameat(dir_.get(), kNewInventoryFile, dir_.get(), kInventoryFile), "create %s/%s",
              path_.c_str(), kInventoryFile));
  // ... and one for the inventory itself.
  TRY(SYSCALL(::fsync(dir_.get()), "sync %s", path_.c_str()));
  return {};
}

Result<> ImageDir::commit(schema::Inventory inventory) {
  inventory.set_format_version(kImageFormatVersion);
  if (inventory.uuid().size() != 16) {
    char uuid[16];
    TRY(SYSCALL(::getrandom(uuid, sizeof uuid, 0), "getrandom"));
    inventory.set_uuid(uuid, sizeof uuid);
  }
  TRY(list_files(&inventory));
  TRY(sync_files());
  std::string file = TRY(build_record_file(kInventoryFile, {&inventory}));
  file = seal(std::move(file));
  inventory_size_ = file.size();
  TRY(publish(file));
  committed_ = true;
  return {};
}

uint64_t ImageDir::bytes_written() const {
  uint64_t total = inventory_size_;
  for (const Made& file : files_) {
    struct stat status {};
    if (::fstat(file.fd.get(), &status) == 0) total += static_cast<uint64_t>(status.st_size);
  }
  return total;
}

}  // namespace ncr
