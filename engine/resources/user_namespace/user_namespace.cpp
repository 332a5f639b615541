// User namespace (struct user_namespace): the maps of ids, whether setgroups(2) is denied, who made
// it and which one it was made in (ioctl_nsfs(2)). /proc/PID/uid_map shows the ids above as the
// reader's own namespace numbers them (user_namespaces(7)). Of which group its maker was nothing
// tells. Read by the engine when it looks for namespaces, all kinds of which belong to one of these
// (engine/resources/namespaces/user_namespaces.cpp); made by the coordinator and the root task
// (engine/tree/namespace_set.cpp), for maps take capabilities in the namespace above.
#include "engine/resources/user_namespace/user_namespace.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "engine/base/undo.h"
#include "engine/resources/room.h"
#include "engine/resources/user_namespace/id_map.h"

namespace ncr::user_namespace {
namespace {

// Only system calls: we may be one of several threads. Answers with a byte when it is there.
[[noreturn]] void stay_in(int nsfs, int answer) {
  const char byte = ::setns(nsfs, CLONE_NEWUSER) == 0 ? 'y' : 'n';
  (void)!::write(answer, &byte, 1);
  for (;;) ::pause();
}

}  // namespace

Result<> read_maps(const Fd& proc, schema::UserNamespace* user) {
  user->Clear();
  std::string uids = TRY(sys::read_file_at(proc, "uid_map"));
  TRY_WHILE(parse_id_map(uids, user->mutable_uids()), "uid_map");
  std::string gids = TRY(sys::read_file_at(proc, "gid_map"));
  TRY_WHILE(parse_id_map(gids, user->mutable_gids()), "gid_map");
  std::string setgroups = TRY(sys::read_file_at(proc, "setgroups"));
  user->set_setgroups_denied(setgroups.starts_with("deny"));
  return {};
}

Result<> read_maps_of_deserted(const Fd& nsfs, schema::UserNamespace* user) {
  int ends[2];
  TRY(SYSCALL(::pipe2(ends, O_CLOEXEC), "pipe2"));
  const Fd answer(ends[0]);
  Fd question(ends[1]);
  const pid_t visitor = TRY(SYSCALL(::fork(), "fork"));
  if (visitor == 0) stay_in(nsfs.get(), question.get());
  Undo call_back([visitor] {
    ::kill(visitor, SIGKILL);
    (void)SYSCALL(::waitpid(visitor, nullptr, __WALL), "waitpid");
  });
  question.close();
  char byte = 0;
  TRY(sys::read_exact(answer, &byte, 1));
  if (byte != 'y') return Error::system(EPERM, "nobody of ours may enter it");
  Fd proc = TRY(sys::open(strf("/proc/%d", visitor).c_str(), O_PATH | O_DIRECTORY));
  return read_maps(proc, user);
}

Result<uint32_t> owner_of(const Fd& nsfs) {
  uid_t owner = 0;
  TRY(SYSCALL(::ioctl(nsfs.get(), NS_GET_OWNER_UID, &owner), "NS_GET_OWNER_UID"));
  return owner;
}

Result<Fd> above(const Fd& nsfs) {
  Result<int> parent = SYSCALL(::ioctl(nsfs.get(), NS_GET_PARENT), "NS_GET_PARENT");
  if (parent.ok()) return Fd(parent.value());
  if (parent.error().os_error() == EPERM) return Fd();
  return parent.take_error();
}

extern const NamespaceRoom kRoom = {
    .name = "user", .kind = schema::Namespace::kUser, .clone_flag = CLONE_NEWUSER};

}  // namespace ncr::user_namespace
