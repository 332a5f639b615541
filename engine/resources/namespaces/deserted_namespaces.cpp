// A namespace lives as long as a task, a descriptor, a socket or a bind mount holds it. One that no
// task of the tree is in is met as a file of nsfs (ioctl_nsfs(2) tells its kind and its owner), by
// whoever looks at descriptors, sockets and mounts. Which processes are in it the kernel does not
// tell: /proc is searched. Runs in the engine.
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "engine/base/sys.h"
#include "engine/resources/namespaces/namespaces.h"
#include "engine/resources/room.h"
#include "engine/tree/process_table.h"

namespace ncr::namespaces {
namespace {

Result<uint64_t> inode_of(const Fd& nsfs) {
  struct stat status {};
  TRY(SYSCALL(::fstat(nsfs.get(), &status), "fstat of a namespace"));
  return status.st_ino;
}

Result<Fd> copy_of(const Fd& fd) {
  return Fd(TRY(SYSCALL(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0), "fcntl F_DUPFD_CLOEXEC")));
}

// A process that is in it, of those that the engine sees; 0: none.
Result<pid_t> inhabitant(const char* name, uint64_t inode) {
  const std::string wanted = strf("%s:[%llu]", name, static_cast<unsigned long long>(inode));
  const std::vector<pid_t> all = TRY(sys::numbered_entries(Fd(), "/proc"));
  for (pid_t pid : all) {
    Result<std::string> link = sys::read_link_at(Fd(), strf("/proc/%d/ns/%s", pid, name).c_str());
    if (link.ok() && link.value() == wanted) return pid;
  }
  return 0;
}

// Why a namespace without tasks cannot be made again; empty if it can.
const char* reason_against(schema::Namespace::ContentCase kind) {
  switch (kind) {
    case schema::Namespace::kPid:
      return "no process of the tree is in it, and without its first process it cannot be made";
    case schema::Namespace::kTime:
      return "no process of the tree is in it, and the engine cannot look into it";
    default:
      return "";
  }
}

}  // namespace

Result<const NamespaceRoom*> room_of(const Fd& nsfs) {
  const int flag = TRY(SYSCALL(::ioctl(nsfs.get(), NS_GET_NSTYPE), "NS_GET_NSTYPE"));
  for (const NamespaceRoom* room : namespace_rooms())
    if (room->clone_flag == static_cast<uint64_t>(flag)) return room;
  return Error::unsupported(strf("a namespace of a kind that is not known (%#x)", flag));
}

Result<uint32_t> NamespaceTable::refer(const Fd& nsfs, const std::string& where) {
  const uint64_t inode = TRY(inode_of(nsfs));
  for (const auto& [name, link] : own_)
    if (namespaces::inode_of(link) == inode) return 0;
  const NamespaceRoom& room = *TRY(room_of(nsfs));
  if (uint32_t id = find(room.kind, inode); id != 0) {
    if (room.kind == schema::Namespace::kPid && id != of(0, room.kind))
      held_pids_.emplace_back(id, where);
    return id;
  }
  Deserted one{records_.size(), TRY(copy_of(nsfs)), where, true};
  if (room.kind == schema::Namespace::kUser) {
    Fd user = TRY(copy_of(nsfs));
    (void)TRY(id_of_user(std::move(user)));
  } else {
    (void)add(room, inode);
    members_.push_back(0);
    one.is_owned = TRY(note_owner(nsfs, one.record));
  }
  deserted_.push_back(std::move(one));
  TRY(look_at_users(*tasks_));
  return static_cast<uint32_t>(deserted_.back().record + 1);
}

Result<> NamespaceTable::check_deserted(const std::vector<Task>& tasks, Blockers& blockers) const {
  for (const auto& [id, where] : held_pids_)
    blockers.add(tasks[members_[id - 1]], strf("pid namespace, held by %s", where.c_str()),
                 "one below that of the root of the tree can be had by its processes only");
  check_users(tasks, blockers);
  for (const Deserted& one : deserted_) {
    const schema::Namespace& record = records_[one.record];
    if (!record.external_key().empty()) continue;
    const NamespaceRoom& room = *TRY(room_of(one.fd));
    std::string reason = reason_against(room.kind);
    if (reason.empty() && !one.is_owned)
      reason = "it belongs to another user namespace than the root of the tree is in";
    if (reason.empty() && !record.empty()) {
      const pid_t pid = TRY(inhabitant(room.name, record.inode()));
      if (pid != 0) reason = strf("process %d, which is not part of the tree, is in it", pid);
    }
    if (reason.empty()) continue;
    const auto inode = static_cast<unsigned long long>(record.inode());
    blockers.add(tasks.front(),
                 strf("%s namespace %llu, held by %s", room.name, inode, one.where.c_str()), reason,
                 strf("--external %s[%llu]:KEY", room.name, inode));
  }
  return {};
}

}  // namespace ncr::namespaces
