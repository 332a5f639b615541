// engine: a hierarchy is a file system (kernfs) that can be mounted any number of times, always the
// same one: v2 (cgroup2) exists once, a v1 hierarchy (cgroup) has the controllers that it was first
// mounted with. Where it is mounted is anybody's choice, often only parts of it are, and another
// mount may lie on top; then a mount of our own is made that has no name and is gone with its
// descriptor.
#include "engine/resources/cgroup/hierarchies.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace ncr::cgroup {
namespace {

Result<bool> is_device(const Fd& directory, const std::string& device) {
  struct stat status {};
  TRY(SYSCALL(::fstat(directory.get(), &status), "fstat a cgroup mount"));
  return device == strf("%u:%u", major(status.st_dev), minor(status.st_dev));
}

Result<> configure(const Fd& context, const std::string& controllers) {
  bool only_named = true;
  for (std::string_view part : split(controllers, ',')) {
    const std::string option(part);
    if (part.starts_with("name=")) {
      TRY(SYSCALL(::fsconfig(context.get(), FSCONFIG_SET_STRING, "name", option.c_str() + 5, 0),
                  "fsconfig %s", option.c_str()));
    } else {
      only_named = false;
      TRY(SYSCALL(::fsconfig(context.get(), FSCONFIG_SET_FLAG, option.c_str(), nullptr, 0),
                  "fsconfig %s", option.c_str()));
    }
  }
  if (only_named && !controllers.empty())
    TRY(SYSCALL(::fsconfig(context.get(), FSCONFIG_SET_FLAG, "none", nullptr, 0), "fsconfig none"));
  return {};
}

Result<Fd> create_mount(const std::string& controllers) {
  const char* type = controllers.empty() ? "cgroup2" : "cgroup";
  Fd context(TRY(SYSCALL(::fsopen(type, FSOPEN_CLOEXEC), "fsopen %s", type)));
  TRY(configure(context, controllers));
  TRY(SYSCALL(::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0),
              "fsconfig of %s %s", type, controllers.c_str()));
  return Fd(TRY(SYSCALL(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0), "fsmount of %s", type)));
}

// Only for a hierarchy that exists: mounting what does not exist would make it. One that lost its
// last mount a moment ago is taken down before it can be mounted again; until then the kernel
// restarts the call, and finds that the context has been used (EBUSY; kernel/cgroup/cgroup-v1.c).
Result<Fd> mount_unseen(const std::string& controllers) {
  constexpr int kAttempts = 100;
  constexpr useconds_t kPause = 10'000;
  Result<Fd> mount = create_mount(controllers);
  for (int i = 1; i < kAttempts && !mount.ok() && mount.error().os_error() == EBUSY; i++) {
    ::usleep(kPause);
    mount = create_mount(controllers);
  }
  if (!mount.ok()) return mount;
  return sys::open_at(mount.value(), ".", O_RDONLY | O_DIRECTORY);
}

}  // namespace

Result<Hierarchies> Hierarchies::look() {
  Hierarchies found;
  const std::string memberships = TRY(sys::read_file("/proc/thread-self/cgroup"));
  found.own_ = TRY(parse_memberships(memberships));
  const std::string mounts = TRY(sys::read_file("/proc/thread-self/mountinfo"));
  found.mounts_ = parse_cgroup_mounts(mounts);
  return found;
}

const Membership* Hierarchies::own_in(std::string_view controllers) const {
  for (const Membership& one : own_)
    if (same_controllers(one.controllers, controllers)) return &one;
  return nullptr;
}

Result<Fd> Hierarchies::open_root(const std::string& controllers) const {
  const Membership* own = own_in(controllers);
  if (own == nullptr)
    return Error::unsupported(
        strf("this machine has no cgroup hierarchy \"%s\"", controllers.c_str()));
  for (const CgroupMount& mount : mounts_) {
    if (mount.root != "/" || !controllers_within(own->controllers, mount.controllers)) continue;
    Result<Fd> opened = sys::open(mount.mount_point.c_str(), O_RDONLY | O_DIRECTORY);
    if (!opened.ok()) continue;
    const bool seen = TRY(is_device(opened.value(), mount.device));
    if (seen) return opened;
  }
  return TRY_WHILE(mount_unseen(own->controllers),
                   "the cgroup hierarchy \"%s\" is not mounted anywhere", controllers.c_str());
}

Result<Fd> open_cgroup(const Fd& root, const std::string& path) {
  const std::string relative = path == "/" ? "." : path.substr(1);
  return sys::open_at(root, relative.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

}  // namespace ncr::cgroup
