// A tmpfs (mm/shmem.c) is its inodes and nothing else: names, owners, modes, times, extended
// attributes, links, device nodes and pages. Read through a copy of its mount on which nothing else
// is mounted. Small files stand in the record, the others where shared memory goes. A directory is
// read without changing when it was last read. Engine (on a thread of its own that has entered the
// namespace); made again by the root task.
#include "engine/resources/mount_namespace/memory_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <deque>
#include <memory>
#include <vector>

#include "engine/resources/file_content.h"

namespace ncr::mount_namespace {
namespace {

constexpr uint64_t kSmall = 16 << 10;

uint64_t nanoseconds(const timespec& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

timespec time_of(uint64_t ns) {
  return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

Result<std::vector<std::string>> entries_of(const Fd& directory) {
  // Who does not own it may not leave its time alone.
  Result<Fd> opened = sys::open_at(directory, ".", O_RDONLY | O_DIRECTORY | O_NOATIME);
  if (!opened.ok()) opened = sys::open_at(directory, ".", O_RDONLY | O_DIRECTORY);
  Fd own = TRY(std::move(opened));
  std::unique_ptr<DIR, CloseDir> dir(::fdopendir(own.get()));
  if (dir == nullptr) return Error::system(ENOMEM, "fdopendir");
  (void)own.release();
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir.get())) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  return names;
}

// Of what the working directory calls `name`.
Result<> read_attributes(const char* name, schema::FileNode* node) {
  std::string list(64 << 10, '\0');
  Result<ssize_t> size = SYSCALL(::llistxattr(name, list.data(), list.size()), "listxattr");
  if (!size.ok() && size.error().os_error() == EOPNOTSUPP) return {};
  list.resize(static_cast<size_t>(TRY(std::move(size))));
  for (size_t at = 0; at < list.size();) {
    std::string attribute = list.c_str() + at;
    at += attribute.size() + 1;
    std::string value(64 << 10, '\0');
    ssize_t length = TRY(SYSCALL(::lgetxattr(name, attribute.c_str(), value.data(), value.size()),
                                 "getxattr %s", attribute.c_str()));
    value.resize(static_cast<size_t>(length));
    schema::FileAttribute* out = node->add_attributes();
    out->set_name(attribute);
    out->set_value(value);
  }
  return {};
}

void describe(const struct stat& status, schema::FileNode* node) {
  node->set_mode(status.st_mode);
  node->set_uid(status.st_uid);
  node->set_gid(status.st_gid);
  node->set_accessed_ns(nanoseconds(status.st_atim));
  node->set_modified_ns(nanoseconds(status.st_mtim));
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) node->set_device(status.st_rdev);
}

Result<> read_file(Fd file, SharedMemoryTable& content, schema::FileNode* node) {
  if (node->size() > kSmall) {
    schema::SharedMemory description;
    description.set_unlinked_file(true);
    node->set_content(TRY(content.add(std::move(file), description)));
    return {};
  }
  std::string data(node->size(), '\0');
  TRY(sys::pread_exact(file, data.data(), data.size(), 0));
  data.resize(data.find_last_not_of('\0') + 1);
  node->set_data(std::move(data));
  return {};
}

// What belonged to nobody inside a user namespace cannot be given to nobody.
Result<> give_to(int directory, const char* name, const schema::FileNode& node) {
  Result<int> given =
      SYSCALL(::fchownat(directory, name, node.uid(), node.gid(), AT_SYMLINK_NOFOLLOW),
              "chown %s to %u:%u", name, node.uid(), node.gid());
  if (!given.ok() && given.error().os_error() != EINVAL) return given.take_error();
  return {};
}

Result<> write_file(const Image& image, const schema::FileNode& node, const Fd& directory,
                    const char* name) {
  Fd file = TRY(sys::open_at(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  if (node.size() == 0) return {};
  TRY(write_content(image, node.content(), node.size(), name, file));
  return sys::pwrite_all(file, node.data().data(), node.data().size(), 0);
}

}  // namespace

Result<bool> is_empty_directory(const Fd& directory) { return TRY(entries_of(directory)).empty(); }

Result<uint32_t> MemoryFiles::add_node(uint32_t parent, const std::string& name,
                                       const Fd& directory, const char* at) {
  auto [known, is_new] = known_.try_emplace({parent, name}, 0);
  if (!is_new) return known->second;
  struct stat status {};
  TRY(SYSCALL(::fstatat(directory.get(), at, &status, AT_SYMLINK_NOFOLLOW), "stat %s",
              name.c_str()));
  const auto index = static_cast<uint32_t>(record_->nodes_size());
  known->second = index;
  schema::FileNode* node = record_->add_nodes();
  node->set_parent(parent);
  node->set_name(name);
  if (!S_ISDIR(status.st_mode) && status.st_nlink > 1) {
    auto [first, is_first] = inodes_.try_emplace(status.st_ino, index);
    if (!is_first) {
      node->set_link_of(first->second);
      return index;
    }
  }
  describe(status, node);
  // What covers a mount point hides what is there; only its kind can be known.
  if (status.st_dev != device_) return index;
  TRY(SYSCALL(::fchdir(directory.get()), "fchdir"));
  TRY(read_attributes(at, node));
  if (S_ISLNK(status.st_mode)) node->set_data(TRY(sys::read_link_at(directory, at)));
  node->set_size(S_ISREG(status.st_mode) ? static_cast<uint64_t>(status.st_size) : 0);
  if (node->size() == 0) return index;
  Fd file = TRY(sys::open_at(directory, at, O_RDONLY | O_NOFOLLOW | O_NOATIME));
  TRY(read_file(std::move(file), content_, node));
  return index;
}
// Directories above what is shown: nobody sees them, so what they are does not matter.
Result<uint32_t> MemoryFiles::add_ancestors(const std::string& root, std::string* name) {
  uint32_t parent = 0;
  size_t at = 1;
  if (root.size() > 1 && record_->nodes_size() == 0) {
    record_->add_nodes()->set_mode(S_IFDIR | 0755);
    known_[{0, {}}] = 0;
  }
  for (size_t end = root.find('/', at); end != std::string::npos; end = root.find('/', at)) {
    auto [known, is_new] = known_.try_emplace({parent, root.substr(at, end - at)}, 0);
    if (is_new) {
      known->second = static_cast<uint32_t>(record_->nodes_size());
      schema::FileNode* node = record_->add_nodes();
      node->set_mode(S_IFDIR | 0755);
      node->set_parent(parent);
      node->set_name(root.substr(at, end - at));
    }
    parent = known->second;
    at = end + 1;
  }
  *name = root.substr(at);
  return parent;
}

Result<> MemoryFiles::add(const Fd& top, const std::string& root, const Fd& proc) {
  std::string name;
  uint32_t parent = TRY(add_ancestors(root, &name));
  if (known_.contains({parent, name})) return {};
  struct stat status {};
  TRY(SYSCALL(::fstat(top.get(), &status), "stat %s", root.c_str()));
  device_ = status.st_dev;
  if (!S_ISDIR(status.st_mode)) {
    known_[{parent, name}] = static_cast<uint32_t>(record_->nodes_size());
    schema::FileNode* file = record_->add_nodes();
    file->set_parent(parent);
    file->set_name(name);
    describe(status, file);
    return S_ISREG(status.st_mode) ? read_removed(top, proc, content_, file) : Result<>();
  }
  uint32_t node = TRY(add_node(parent, name, top, "."));
  std::deque<Directory> todo = {{node, "."}};
  for (; !todo.empty(); todo.pop_front()) {
    const Directory directory = todo.front();
    Fd fd = TRY(sys::open_at(top, directory.path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW));
    std::vector<std::string> names = TRY(entries_of(fd));
    for (const std::string& entry : names) {
      uint32_t index = TRY_WHILE(add_node(directory.node, entry, fd, entry.c_str()), "%s/%s",
                                 directory.path.c_str(), entry.c_str());
      const schema::FileNode& added = record_->nodes(static_cast<int>(index));
      struct stat now {};
      TRY(SYSCALL(::fstatat(fd.get(), entry.c_str(), &now, AT_SYMLINK_NOFOLLOW), "stat %s",
                  entry.c_str()));
      if (S_ISDIR(added.mode()) && now.st_dev == device_)
        todo.push_back({index, directory.path + "/" + entry});
    }
  }
  return {};
}

// ---- Restore (root task)

namespace {

std::string path_of(const schema::MountedFileSystem& record, uint32_t index) {
  std::string path;
  for (uint32_t at = index; at != 0; at = record.nodes(static_cast<int>(at)).parent()) {
    const std::string& name = record.nodes(static_cast<int>(at)).name();
    path = path.empty() ? name : name + "/" + path;
  }
  return path.empty() ? "." : path;
}

class Maker {
 public:
  Maker(const Image& image, const schema::MountedFileSystem& record, const Fd& root)
      : image_(image), record_(record), root_(root) {}

  Result<> make_all() {
    for (int i = 0; i < record_.nodes_size(); i++) {
      const schema::FileNode& node = record_.nodes(i);
      TRY(enter(i == 0 ? 0 : node.parent()));
      const char* name = i == 0 ? "." : node.name().c_str();
      TRY_WHILE(make(node, name, i == 0), "%s", path_of(record_, static_cast<uint32_t>(i)).c_str());
    }
    // What is made in a directory changes when it was modified.
    for (int i = record_.nodes_size() - 1; i >= 0; i--) {
      const schema::FileNode& node = record_.nodes(i);
      if (!S_ISDIR(node.mode()) || node.modified_ns() == 0) continue;
      TRY(enter(static_cast<uint32_t>(i)));
      TRY(set_times(node, "."));
    }
    return {};
  }

 private:
  Result<> enter(uint32_t index) {
    if (entered_ && current_ == index) return {};
    std::string path = path_of(record_, index);
    here_ = TRY(sys::open_at(root_, path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW));
    TRY(SYSCALL(::fchdir(here_.get()), "enter %s", path.c_str()));
    current_ = index;
    entered_ = true;
    return {};
  }

  Result<> make(const schema::FileNode& node, const char* name, bool is_root) {
    if (node.link_of() != 0) {
      std::string target = path_of(record_, node.link_of());
      TRY(SYSCALL(::linkat(root_.get(), target.c_str(), AT_FDCWD, name, 0), "link"));
      return {};
    }
    const mode_t kind = node.mode() & S_IFMT;
    if (kind == S_IFDIR && !is_root)
      TRY(SYSCALL(::mkdir(name, 0700), "mkdir"));
    else if (kind == S_IFLNK)
      TRY(SYSCALL(::symlink(node.data().c_str(), name), "symlink"));
    else if (kind == S_IFREG)
      TRY(write_file(image_, node, here_, name));
    else if (kind != S_IFDIR)
      TRY(SYSCALL(::mknod(name, kind | 0600, node.device()), "mknod"));
    TRY(give_to(AT_FDCWD, name, node));
    if (kind != S_IFLNK) TRY(SYSCALL(::chmod(name, node.mode() & 07777), "chmod"));
    for (const schema::FileAttribute& attribute : node.attributes())
      TRY(SYSCALL(::lsetxattr(name, attribute.name().c_str(), attribute.value().data(),
                              attribute.value().size(), 0),
                  "setxattr %s", attribute.name().c_str()));
    if (kind != S_IFDIR) TRY(set_times(node, name));
    return {};
  }

  static Result<> set_times(const schema::FileNode& node, const char* name) {
    timespec times[2] = {time_of(node.accessed_ns()), time_of(node.modified_ns())};
    TRY(SYSCALL(::utimensat(AT_FDCWD, name, times, AT_SYMLINK_NOFOLLOW), "set times"));
    return {};
  }

  const Image& image_;
  const schema::MountedFileSystem& record_;
  const Fd& root_;
  Fd here_;  // the working directory
  uint32_t current_ = 0;
  bool entered_ = false;
};

}  // namespace

Result<> check_nodes(const schema::MountedFileSystem& record) {
  for (int i = 0; i < record.nodes_size(); i++) {
    const schema::FileNode& node = record.nodes(i);
    const std::string& name = node.name();
    auto fail = [&](const char* what) {
      return Error::malformed(strf("file %d of a %s of the image (%s): %s", i,
                                   record.type().c_str(), name.c_str(), what));
    };
    if (i == 0) {
      if (!S_ISDIR(node.mode())) return fail("the root is no directory");
      continue;
    }
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos)
      return fail("it has no name that a file can have");
    if (node.parent() >= static_cast<uint32_t>(i) ||
        !S_ISDIR(record.nodes(static_cast<int>(node.parent())).mode()))
      return fail("it is in no directory");
    if (node.link_of() >= static_cast<uint32_t>(i)) return fail("it is a link to a later file");
    const mode_t kind = node.link_of() != 0 ? S_IFREG : node.mode() & S_IFMT;
    if (kind != S_IFREG && kind != S_IFDIR && kind != S_IFLNK && kind != S_IFCHR &&
        kind != S_IFBLK && kind != S_IFIFO && kind != S_IFSOCK)
      return fail("it is of no known kind");
    if (node.data().size() > node.size() && kind == S_IFREG && node.link_of() == 0)
      return fail("it holds more than it has");
  }
  return {};
}

Result<> make_memory_files(const Image& image, const schema::MountedFileSystem& record,
                           const Fd& root) {
  TRY(check_nodes(record));
  return Maker(image, record, root).make_all();
}

Result<> read_removed(const Fd& shown, const Fd& proc, SharedMemoryTable& content,
                      schema::FileNode* node) {
  struct stat status {};
  TRY(SYSCALL(::fstat(shown.get(), &status), "stat"));
  describe(status, node);
  if (S_ISDIR(status.st_mode)) return {};
  if (!S_ISREG(status.st_mode))
    return Error::unsupported("it shows something that was removed and is no ordinary file");
  node->set_size(static_cast<uint64_t>(status.st_size));
  if (node->size() == 0) return {};
  Fd file = TRY(sys::open_at(proc, strf("../self/fd/%d", shown.get()).c_str(), O_RDONLY));
  return read_file(std::move(file), content, node);
}

Result<std::string> make_removed(const Image& image, const schema::FileNode& node,
                                 const Fd& directory, const std::string& wanted) {
  std::string name = wanted;
  auto make = [&]() -> Result<> {
    if (!S_ISDIR(node.mode())) return write_file(image, node, directory, name.c_str());
    TRY(SYSCALL(::mkdirat(directory.get(), name.c_str(), 0700), "mkdir %s", name.c_str()));
    return {};
  };
  Result<> made = make();
  if (!made.ok() && made.error().os_error() == EEXIST) {
    name = strf("%s.nativecr-%d", wanted.c_str(), ::getpid());
    made = make();
  }
  TRY(std::move(made));
  TRY(give_to(directory.get(), name.c_str(), node));
  TRY(SYSCALL(::fchmodat(directory.get(), name.c_str(), node.mode() & 07777, 0), "chmod %s",
              name.c_str()));
  return name;
}

}  // namespace ncr::mount_namespace
