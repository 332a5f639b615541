// Runs in the engine. The root of a namespace is the root of any of its tasks that has not changed
// it: /proc/PID/root leads there. If all have, a thread enters the namespace for a moment, which
// gives it the namespace's root (setns(2) needs a thread that shares its root with no other).
// openat2(2) with RESOLVE_IN_ROOT keeps ".." and symbolic links inside; it fails with EAGAIN if
// something was renamed or mounted meanwhile anywhere.
#include "engine/tree/mount_view.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "engine/base/quiet_thread.h"

namespace ncr {
namespace {

constexpr const char* kOwn = "/proc/self/ns/mnt";

Result<Fd> open_in(const Fd& root, const std::string& path, int flags) {
  constexpr int kTries = 64;
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT;
  for (int tries = 1;; tries++) {
    Result<long> opened =
        SYSCALL(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how), "open %s",
                path.c_str());
    if (opened.ok()) return Fd(static_cast<int>(opened.value()));
    if (opened.error().os_error() != EAGAIN || tries == kTries) return opened.take_error();
  }
}

struct Visit {
  Fd root;
  std::string mountinfo;
};

Result<Visit> visit(const Fd& space) {
  Fd self = TRY(sys::open("/proc/thread-self", O_PATH | O_DIRECTORY));
  TRY(SYSCALL(::unshare(CLONE_FS), "unshare CLONE_FS"));
  TRY(SYSCALL(::setns(space.get(), CLONE_NEWNS), "enter the mount namespace"));
  Visit seen;
  seen.root = TRY(sys::open("/", O_PATH | O_DIRECTORY));
  seen.mountinfo = TRY(sys::read_file_at(self, "mountinfo"));
  return seen;
}

Result<Visit> visit_aside(const Fd& space) {
  Result<Visit> seen = Error(ErrorCode::kSystem, "no thread could be started");
  {
    QuietThread thread([&] { seen = visit(space); });
  }
  return seen;
}

}  // namespace

Result<MountView> MountView::of(const Task& task) {
  MountView view;
  view.link_ = *TRY(task.proc_link("ns/mnt"));
  if (*TRY(task.proc_link("root")) == "/") {
    view.root_ = TRY(sys::open_at(task.proc, "root", O_PATH | O_DIRECTORY));
    view.proc_ =
        Fd(TRY(SYSCALL(::fcntl(task.proc.get(), F_DUPFD_CLOEXEC, 0), "fcntl F_DUPFD_CLOEXEC")));
    return view;
  }
  Fd space = TRY(sys::open_at(task.proc, "ns/mnt", O_RDONLY));
  Visit seen = TRY(visit_aside(space));
  view.root_ = std::move(seen.root);
  view.mountinfo_ = std::move(seen.mountinfo);
  return view;
}

Result<Fd> MountView::open(const std::string& path, int flags) const {
  return own() ? sys::open(path.c_str(), flags) : open_in(root_, path, flags);
}

Result<struct stat> MountView::lstat(const std::string& path) const {
  struct stat found {};
  if (own()) {
    TRY(SYSCALL(::lstat(path.c_str(), &found), "stat %s", path.c_str()));
    return found;
  }
  Fd fd = TRY(open_in(root_, path, O_PATH | O_NOFOLLOW));
  TRY(SYSCALL(::fstat(fd.get(), &found), "stat %s", path.c_str()));
  return found;
}

Result<struct stat> MountView::stat(const std::string& path) const {
  struct stat found {};
  Fd fd = TRY(open(path, O_PATH));
  TRY(SYSCALL(::fstat(fd.get(), &found), "stat %s", path.c_str()));
  return found;
}

bool MountView::names(const std::string& path, const struct stat& file) const {
  Result<struct stat> found = lstat(path);
  return found.ok() && found.value().st_dev == file.st_dev && found.value().st_ino == file.st_ino;
}

Result<std::string> MountView::mountinfo() const {
  if (own()) return sys::read_file("/proc/self/mountinfo");
  if (proc_.valid()) return sys::read_file_at(proc_, "mountinfo");
  return mountinfo_;
}

bool MountView::has_mount(int mount_id) const {
  if (!mount_ids_) {
    mount_ids_.emplace();
    Result<std::string> table = mountinfo();
    const std::string text = table.ok() ? table.take() : std::string();
    for (size_t at = 0; at < text.size();) {
      mount_ids_->insert(std::atoi(text.c_str() + at));
      size_t end = text.find('\n', at);
      at = end == std::string::npos ? text.size() : end + 1;
    }
  }
  return mount_ids_->contains(mount_id);
}

MountViews::MountViews() : own_(std::make_unique<MountView>()) {
  Result<std::string> link = sys::read_link_at(Fd(), kOwn);
  if (link.ok()) own_link_ = link.take();
}

Result<const MountView*> MountViews::of(const Task& task) {
  const std::string& link = *TRY(task.proc_link("ns/mnt"));
  if (link == own_link_) return const_cast<const MountView*>(own_.get());
  std::unique_ptr<MountView>& view = others_[link];
  if (view == nullptr) view = std::make_unique<MountView>(TRY(MountView::of(task)));
  return const_cast<const MountView*>(view.get());
}

std::vector<const MountView*> MountViews::others() const {
  std::vector<const MountView*> views;
  for (const auto& [link, view] : others_) views.push_back(view.get());
  return views;
}

const MountView* MountViews::with_mount(int mount_id, const MountView* likely) const {
  if (mount_id == 0 || others_.empty() || likely->has_mount(mount_id)) return likely;
  if (own_->has_mount(mount_id)) return own_.get();
  for (const auto& [link, view] : others_)
    if (view->has_mount(mount_id)) return view.get();
  return likely;
}

}  // namespace ncr
