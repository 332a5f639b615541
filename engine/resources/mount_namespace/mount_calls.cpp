// Runs in the root task. Linux 5.15 has all of these calls (MOVE_MOUNT_SET_GROUP is its own).
#include "engine/resources/mount_namespace/mount_calls.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "engine/resources/mount_namespace/mount_table.h"
#include "engine/resources/mount_namespace/mountinfo.h"

namespace ncr::mount_namespace {
namespace {

constexpr uint64_t kAllAttributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                    MOUNT_ATTR_NOEXEC | MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME |
                                    MOUNT_ATTR_NOSYMFOLLOW;

Result<> change(const Fd& mount, mount_attr& attributes, const char* what) {
  TRY(SYSCALL(::mount_setattr(mount.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes),
              "mount_setattr (%s)", what));
  return {};
}

// What the kernel prints and does not take, or what no option changes.
bool is_told_only(std::string_view option) {
  return option == "rw" || option == "ro" || option == "seclabel" || option == "nouuid" ||
         option.empty();
}

// Why a file system could not be made, in the kernel's own words if it has any.
Error explain(const Fd& context, Error error) {
  char message[256];
  ssize_t length = ::read(context.get(), message, sizeof message - 1);
  if (length <= 2) return error;
  return std::move(error).while_doing(std::string(message + 2, static_cast<size_t>(length - 2)));
}

Result<> set_option(const Fd& context, const std::string& option) {
  size_t equals = option.find('=');
  std::string name = option.substr(0, equals);
  Result<int> set(0);
  if (equals == std::string::npos)
    set = SYSCALL(::fsconfig(context.get(), FSCONFIG_SET_FLAG, name.c_str(), nullptr, 0),
                  "option %s", name.c_str());
  else
    set = SYSCALL(::fsconfig(context.get(), FSCONFIG_SET_STRING, name.c_str(),
                             option.c_str() + equals + 1, 0),
                  "option %s", option.c_str());
  if (!set.ok()) return explain(context, set.take_error());
  return {};
}

// Options of file systems of which there is only one would change that one.
bool takes_options(const std::string& type) {
  return !is_view_of_kernel(type) || type == "proc" || type == "devpts" || type == "cgroup";
}

// As they were given, without escapes.
std::vector<std::string> options_of(const schema::MountedFileSystem& record) {
  std::vector<std::string> given;
  std::string_view options = record.options();
  while (!options.empty()) {
    size_t end = options.find(',');
    std::string_view option = options.substr(0, end);
    options.remove_prefix(end == std::string_view::npos ? options.size() : end + 1);
    if (option == "ro" && !is_in_memory(record.type())) given.emplace_back("ro");
    if (!is_told_only(option) && takes_options(record.type()))
      given.push_back(undo_escapes(option));
  }
  return given;
}

}  // namespace

static Result<Fd> open_resolving(const Fd& root, const std::string& below, uint64_t resolve) {
  constexpr int kTries = 64;
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = resolve;
  const char* path = below.empty() ? "." : below.c_str();
  for (int tries = 1;; tries++) {
    Result<long> opened =
        below.empty()
            ? SYSCALL(static_cast<long>(::fcntl(root.get(), F_DUPFD_CLOEXEC, 0)), "fcntl")
            : SYSCALL(::syscall(SYS_openat2, root.get(), path, &how, sizeof how), "open %s", path);
    if (opened.ok()) return Fd(static_cast<int>(opened.value()));
    if (opened.error().os_error() != EAGAIN || tries == kTries) return opened.take_error();
  }
}

Result<Fd> open_below(const Fd& root, const std::string& below) {
  return open_resolving(root, below, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
}

Result<Fd> open_below_autofs(const Fd& root, const std::string& below) {
  Fd there = TRY(open_resolving(root, below, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS));
  if (TRY(mount_id_of(there)) == TRY(mount_id_of(root))) return there;
  return Error::system(EXDEV, strf("open %s", below.c_str()));
}

Result<Fd> copy_mount(const Fd& from) {
  return Fd(
      TRY(SYSCALL(::open_tree(from.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH),
                  "open_tree")));
}

Result<Fd> copy_mount_with_children(const Fd& from) {
  return Fd(
      TRY(SYSCALL(::open_tree(from.get(), "",
                              OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE),
                  "open_tree of a mount with all on it")));
}

Result<Fd> copy_mount_at(const std::string& path) {
  return Fd(TRY(SYSCALL(::open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC),
                        "open_tree %s", path.c_str())));
}

Result<> put_in_place(const Fd& mount, const Fd& point) {
  TRY(SYSCALL(::move_mount(mount.get(), "", point.get(), "",
                           MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
              "move_mount"));
  return {};
}

Result<> set_attributes(const Fd& mount, uint64_t attributes) {
  mount_attr change_to{};
  change_to.attr_clr = kAllAttributes;
  change_to.attr_set = attributes & kAllAttributes;
  return change(mount, change_to, "attributes");
}

Result<> set_propagation(const Fd& mount, uint64_t propagation) {
  mount_attr change_to{};
  change_to.propagation = propagation;
  return change(mount, change_to, "propagation");
}

Result<> set_propagation_of_all(uint64_t propagation) {
  mount_attr change_to{};
  change_to.propagation = propagation;
  TRY(SYSCALL(::mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &change_to, sizeof change_to),
              "mount_setattr of all mounts"));
  return {};
}

Result<> join_group(const Fd& from, const Fd& to) {
  TRY(SYSCALL(
      ::move_mount(from.get(), "", to.get(), "",
                   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | MOVE_MOUNT_SET_GROUP),
      "move_mount MOVE_MOUNT_SET_GROUP"));
  return {};
}

Result<uint32_t> mount_id_of(const Fd& fd) {
  struct statx status {};
  TRY(SYSCALL(::statx(fd.get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &status), "statx"));
  return static_cast<uint32_t>(status.stx_mnt_id);
}

Result<Fd> make_file_system(const schema::MountedFileSystem& record) {
  const char* type = record.type().c_str();
  Fd context(TRY(SYSCALL(::fsopen(type, FSOPEN_CLOEXEC), "fsopen %s", type)));
  if (!record.source().empty())
    TRY(SYSCALL(
        ::fsconfig(context.get(), FSCONFIG_SET_STRING, "source", record.source().c_str(), 0),
        "source %s", record.source().c_str()));
  for (const std::string& option : options_of(record))
    TRY_WHILE(set_option(context, option), "a %s", type);
  Result<int> made =
      SYSCALL(::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0),
              "make a %s (%s, %s)", type, record.source().c_str(), record.options().c_str());
  if (!made.ok()) return explain(context, made.take_error());
  return Fd(TRY(SYSCALL(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0), "fsmount %s", type)));
}

bool has_long_options(const schema::MountedFileSystem& record) {
  constexpr size_t kMost = 255;  // of a value (kernel: vfs_fsconfig_locked)
  const std::vector<std::string> options = options_of(record);
  return std::any_of(options.begin(), options.end(), [](const std::string& option) {
    return option.size() - std::min(option.size(), option.find('=')) > kMost;
  });
}

Result<> mount_here(const schema::MountedFileSystem& record) {
  std::string data;
  unsigned long flags = 0;
  for (const std::string& option : options_of(record)) {
    if (option == "ro") {
      flags |= MS_RDONLY;
      continue;
    }
    if (!data.empty()) data += ',';
    for (char c : option) data += c == ',' ? std::string("\\,") : std::string(1, c);
  }
  TRY(SYSCALL(::mount(record.source().c_str(), ".", record.type().c_str(), flags, data.c_str()),
              "mount a %s (%s, %s)", record.type().c_str(), record.source().c_str(), data.c_str()));
  return {};
}

Result<> finish_file_system(const schema::MountedFileSystem& record, const Fd& mount) {
  const bool read_only = ("," + record.options() + ",").find(",ro,") != std::string::npos;
  if (!is_in_memory(record.type()) || !read_only) return {};
  Fd context(TRY(SYSCALL(::fspick(mount.get(), "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH), "fspick %s",
                         record.type().c_str())));
  TRY(set_option(context, "ro"));
  TRY(SYSCALL(::fsconfig(context.get(), FSCONFIG_CMD_RECONFIGURE, nullptr, nullptr, 0),
              "make a %s read-only", record.type().c_str()));
  return {};
}

}  // namespace ncr::mount_namespace
