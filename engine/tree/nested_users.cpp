// A user namespace belongs to the effective user of whoever makes it, who must be mapped in the one
// above, and it lies in that one (create_user_ns, kernel/user_namespace.c). Its maps are written by
// somebody above, with the capabilities there (user_namespaces(7)); a second process, which stays,
// does that while the first has gone down.
#include "engine/tree/nested_users.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "engine/base/sys.h"
#include "engine/tree/side_process.h"

namespace ncr {
namespace {

constexpr auto kSame = static_cast<uid_t>(-1);

using Ranges = google::protobuf::RepeatedPtrField<schema::IdRange>;

std::string map_text(const Ranges& ranges) {
  std::string text;
  for (const schema::IdRange& range : ranges)
    text += strf("%u %u %u\n", range.inside(), range.outside(), range.count());
  return text;
}

Result<> write_file(const Fd& proc, const char* name, const std::string& text) {
  if (text.empty()) return {};  // as it was: it can be written yet
  Fd file = TRY(sys::open_at(proc, name, O_WRONLY));
  Result<> written = sys::write_all(file, text.data(), text.size());
  if (!written.ok() && written.error().os_error() == EPERM)
    return written.take_error().while_doing(
        strf("%s: mapping these ids needs CAP_SETUID and CAP_SETGID", name));
  if (!written.ok()) return written.take_error().while_doing(name);
  return {};
}

// 0, or else the first that there is.
bool first_inside(const Ranges& ranges, uint32_t* id) {
  for (const schema::IdRange& range : ranges) {
    if (range.count() == 0) continue;
    *id = range.inside() == 0 ? 0 : ranges[0].inside();
    if (range.inside() == 0) return true;
  }
  return !ranges.empty();
}

// A change of ids takes /proc/self away from us.
Result<> stay_visible() {
  TRY(SYSCALL(::prctl(PR_SET_DUMPABLE, 1), "prctl PR_SET_DUMPABLE"));
  return {};
}

// Without the right to keep capabilities there are none to keep.
Result<> become_owner(uint32_t uid) {
  if (::geteuid() == uid) return {};
  (void)SYSCALL(::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP), "prctl PR_SET_SECUREBITS");
  TRY(SYSCALL(::setresuid(uid, uid, uid), "setresuid to %u, the owner of a user namespace", uid));
  return stay_visible();
}

Result<> go_down(const schema::UserNamespace& user) {
  int ends[2];
  TRY(SYSCALL(::pipe2(ends, O_CLOEXEC), "pipe2"));
  const Fd wait(ends[0]);
  Fd go(ends[1]);
  const Fd self = TRY(sys::open("/proc/self", O_PATH | O_DIRECTORY));
  auto write = [&]() -> Result<> {
    go.close();
    char byte = 0;
    TRY(sys::read_exact(wait, &byte, 1));
    return write_maps(self, user);
  };
  SideProcess writer = TRY(SideProcess::start(SideProcess::Table::kCopied, write));
  TRY(become_owner(user.owner_uid()));
  TRY(SYSCALL(::unshare(CLONE_NEWUSER), "make a new user namespace"));
  TRY(stay_visible());
  TRY(sys::write_all(go, "x", 1));
  return writer.finish();
}

}  // namespace

Result<> write_maps(const Fd& proc, const schema::UserNamespace& user) {
  if (user.setgroups_denied()) TRY(write_file(proc, "setgroups", "deny"));
  TRY(write_file(proc, "uid_map", map_text(user.uids())));
  return write_file(proc, "gid_map", map_text(user.gids()));
}

bool maps_zero(const schema::UserNamespace& user) {
  for (const schema::IdRange& range : user.uids())
    if (range.inside() == 0 && range.count() > 0) return true;
  return false;
}

Result<> become_somebody_inside(const schema::UserNamespace& user) {
  uint32_t uid = 0;
  uint32_t gid = 0;
  if (first_inside(user.gids(), &gid)) {
    if (!user.setgroups_denied()) TRY(SYSCALL(::setgroups(0, nullptr), "setgroups"));
    TRY(SYSCALL(::setresgid(gid, gid, gid), "setresgid to %u of the user namespace", gid));
  }
  if (first_inside(user.uids(), &uid)) {
    (void)SYSCALL(::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP), "prctl PR_SET_SECUREBITS");
    TRY(SYSCALL(::setresuid(uid, uid, uid), "setresuid to %u of the user namespace", uid));
  }
  return stay_visible();
}

Result<> enter_user_namespace(int nsfs, const schema::UserNamespace& user) {
  TRY(SYSCALL(::setns(nsfs, CLONE_NEWUSER), "setns into a user namespace"));
  return become_somebody_inside(user);
}

Result<> make_user_namespace(const OuterUser& outer, const schema::UserNamespace& user,
                             const std::function<Result<>()>& keep) {
  return beside([&]() -> Result<> {
    if (outer.nsfs >= 0) TRY(enter_user_namespace(outer.nsfs, *outer.maps));
    TRY(go_down(user));
    return keep();
  });
}

Result<ActingAs> ActingAs::user(uint32_t uid, uint32_t gid) {
  const int securebits = TRY(SYSCALL(::prctl(PR_GET_SECUREBITS), "prctl PR_GET_SECUREBITS"));
  TRY(SYSCALL(::prctl(PR_SET_SECUREBITS, securebits | SECBIT_NO_SETUID_FIXUP),
              "prctl PR_SET_SECUREBITS"));
  ActingAs acting(::geteuid(), ::getegid(), securebits);
  TRY(SYSCALL(::setresgid(kSame, gid, kSame), "act as group %u", gid));
  TRY(SYSCALL(::setresuid(kSame, uid, kSame), "act as user %u", uid));
  return acting;
}

Result<ActingAs> ActingAs::owner_above(const std::string& path) {
  struct stat folder {};
  for (std::string above = path; ::stat(above.c_str(), &folder) != 0 || !S_ISDIR(folder.st_mode);) {
    const size_t slash = above.rfind('/');
    if (slash == std::string::npos || above == "/")
      return Error::system(ENOENT, strf("a folder above %s", path.c_str()));
    above.resize(std::max<size_t>(slash, 1));
  }
  return user(folder.st_uid, folder.st_gid);
}

ActingAs::ActingAs(ActingAs&& other) noexcept
    : uid_(other.uid_),
      gid_(other.gid_),
      securebits_(other.securebits_),
      active_(std::exchange(other.active_, false)) {}

ActingAs::~ActingAs() {
  if (!active_) return;
  (void)SYSCALL(::setresuid(kSame, uid_, kSame), "setresuid");
  (void)SYSCALL(::setresgid(kSame, gid_, kSame), "setresgid");
  (void)SYSCALL(::prctl(PR_SET_SECUREBITS, securebits_), "prctl PR_SET_SECUREBITS");
  (void)stay_visible();
}

}  // namespace ncr
