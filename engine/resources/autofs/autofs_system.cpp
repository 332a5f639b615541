// The file system itself: an indirect one has a directory for each place that may be mounted at,
// and links. Opening one of them as a directory, or its last name with O_DIRECTORY, would ask the
// daemon; O_PATH does not, and neither does a link of /proc (kernel: follow_automount,
// autofs_dir_open, Linux 6.18). Only the group that it was mounted by makes anything in it, and
// that group has to be of the daemon's pid namespace: a process beside the root task leads one for
// a moment. read_nodes runs in the engine, make in the root task.
#include <dirent.h>
#include <fcntl.h>
#include <linux/auto_fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "engine/resources/autofs/autofs.h"
#include "engine/resources/mount_namespace/mount_calls.h"
#include "engine/tree/side_process.h"

namespace ncr::autofs {
namespace {

constexpr int kMostNodes = 1'000'000;
constexpr const char* kDevice = "/dev/autofs";

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

Result<std::vector<std::string>> names_in(const Fd& directory, const Fd& proc) {
  std::vector<std::string> names;
  Result<Fd> opened =
      sys::open_at(proc, strf("../self/fd/%d", directory.get()).c_str(), O_RDONLY | O_DIRECTORY);
  // So says an empty one that nothing is mounted on, rather than let a stranger see it.
  if (!opened.ok() && opened.error().os_error() == ENOENT) return names;
  Fd own = TRY(std::move(opened));
  std::unique_ptr<DIR, CloseDir> dir(::fdopendir(own.get()));
  if (dir == nullptr) return Error::system(ENOMEM, "fdopendir");
  (void)own.release();
  while (const dirent* entry = ::readdir(dir.get())) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  return names;
}

Result<> describe(const Fd& file, schema::FileNode* node) {
  struct stat status {};
  TRY(SYSCALL(::fstat(file.get(), &status), "stat"));
  node->set_mode(status.st_mode);
  node->set_uid(status.st_uid);
  node->set_gid(status.st_gid);
  if (S_ISLNK(status.st_mode)) node->set_data(TRY(sys::read_link_at(file, "")));
  if (S_ISDIR(status.st_mode) || S_ISLNK(status.st_mode)) return {};
  return Error::unsupported("there is something in it that is no directory and no link");
}

Result<> read_below(const Fd& directory, uint32_t index, const Fd& proc,
                    schema::MountedFileSystem* record) {
  for (const std::string& name : TRY(names_in(directory, proc))) {
    if (record->nodes_size() == kMostNodes) return Error::unsupported("it holds too much");
    Fd child = TRY(sys::open_at(directory, name.c_str(), O_PATH | O_NOFOLLOW));
    const auto own = static_cast<uint32_t>(record->nodes_size());
    schema::FileNode* node = record->add_nodes();
    node->set_parent(index);
    node->set_name(name);
    TRY(describe(child, node));
    if (S_ISDIR(node->mode())) TRY(read_below(child, own, proc, record));
  }
  return {};
}

// ---- Restore

Result<> make_node(const schema::FileNode& node, const Fd& parent) {
  const std::string& name = node.name();
  if (name.empty() || name.find('/') != std::string::npos || name == "." || name == "..")
    return Error::malformed("the image names a directory of an autofs as none can be named");
  if (S_ISLNK(node.mode()))
    TRY(SYSCALL(::symlinkat(node.data().c_str(), parent.get(), name.c_str()), "symlink %s",
                name.c_str()));
  else
    TRY(SYSCALL(::mkdirat(parent.get(), name.c_str(), 0700), "mkdir %s", name.c_str()));
  TRY(SYSCALL(::fchownat(parent.get(), name.c_str(), node.uid(), node.gid(), AT_SYMLINK_NOFOLLOW),
              "chown %s", name.c_str()));
  if (S_ISDIR(node.mode()))
    TRY(SYSCALL(::fchmodat(parent.get(), name.c_str(), node.mode() & 07777, 0), "chmod %s",
                name.c_str()));
  return {};
}

Result<> make_nodes(const schema::MountedFileSystem& record, const Fd& top) {
  std::vector<Fd> made;
  for (int i = 0; i < record.nodes_size(); i++) {
    const schema::FileNode& node = record.nodes(i);
    if (i == 0) {
      TRY(SYSCALL(::fchmod(top.get(), node.mode() & 07777), "chmod of the root"));
      made.push_back(TRY(sys::open_at(top, ".", O_PATH)));
      continue;
    }
    if (node.parent() >= made.size() ||
        !S_ISDIR(record.nodes(static_cast<int>(node.parent())).mode()))
      return Error::malformed("a node of an autofs of the image has no place");
    const Fd& parent = made[node.parent()];
    TRY(make_node(node, parent));
    made.push_back(TRY(sys::open_at(parent, node.name().c_str(), O_PATH | O_NOFOLLOW)));
  }
  return {};
}

// What is told only, or said by other means.
bool is_said_later(std::string_view option) {
  return option.starts_with("fd=") || option.starts_with("pgrp=") ||
         option.starts_with("timeout=") || option.starts_with("pipe_ino=");
}

std::string options_with(const std::string& told, int pipe) {
  std::string options = strf("fd=%d", pipe);
  for (size_t at = 0; at < told.size();) {
    const size_t end = std::min(told.find(',', at), told.size());
    const std::string option = told.substr(at, end - at);
    if (!is_said_later(option)) options += "," + option;
    at = end + 1;
  }
  return options;
}

// Its pipe has no reader, and is taken away at once.
Result<> make_by_group(const schema::MountedFileSystem& record, const Fd& mount, const Fd& top) {
  TRY(SYSCALL(::setpgid(0, 0), "setpgid"));
  int ends[2];
  TRY(SYSCALL(::pipe2(ends, O_CLOEXEC), "pipe2"));
  const Fd reader(ends[0]);
  const Fd writer(ends[1]);
  schema::MountedFileSystem wanted = record;
  wanted.set_options(options_with(record.options(), writer.get()));
  const Fd made = TRY(mount_namespace::make_file_system(wanted));
  const Fd root = TRY(sys::open_at(made, ".", O_RDONLY | O_DIRECTORY));
  TRY(make_nodes(record, root));
  unsigned long timeout = record.autofs().timeout();
  TRY(SYSCALL(::ioctl(root.get(), AUTOFS_IOC_SETTIMEOUT, &timeout), "set the timeout"));
  TRY(SYSCALL(::ioctl(root.get(), AUTOFS_IOC_CATATONIC, 0), "make it catatonic"));
  TRY(SYSCALL(::dup3(made.get(), mount.get(), O_CLOEXEC), "dup3"));
  TRY(SYSCALL(::dup3(root.get(), top.get(), O_CLOEXEC), "dup3"));
  return {};
}

}  // namespace

Result<> read_nodes(const Fd& top, const Fd& proc, schema::MountedFileSystem* record) {
  TRY(describe(top, record->add_nodes()));
  return read_below(top, 0, proc, record);
}

Result<Made> make(const schema::MountedFileSystem& record) {
  Made made;
  made.mount = TRY(sys::open("/", O_PATH | O_DIRECTORY));
  made.open.top = TRY(sys::open("/", O_PATH | O_DIRECTORY));
  TRY_WHILE(beside([&] { return make_by_group(record, made.mount, made.open.top); }), "autofs");
  if (record.autofs().pipe() != 0)
    made.open.device = TRY_WHILE(sys::open(kDevice, O_RDONLY), "an autofs with a daemon");
  return made;
}

}  // namespace ncr::autofs
