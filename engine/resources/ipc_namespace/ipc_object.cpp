// An object of System V IPC (struct kern_ipc_perm; ipc(7)) lives in its ipc namespace's tables,
// until it is removed. Its id is an index into the table and a sequence number; which id the next
// new object gets can be chosen through /proc/sys/kernel/*_next_id (CONFIG_CHECKPOINT_RESTORE). Who
// created it can only be had by creating it as that user. Times and the pids of last users cannot
// be set. Runs in the engine's thread in the namespace, and in the root task.
#include "engine/resources/ipc_namespace/ipc_object.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/undo.h"

namespace ncr::ipc_namespace {
namespace {

Result<> choose_next_id(const char* kind, int id) {
  const std::string path = strf("/proc/sys/kernel/%s_next_id", kind);
  const std::string text = std::to_string(id);
  Fd file = TRY(sys::open(path.c_str(), O_WRONLY));
  TRY_WHILE(sys::write_all(file, text.data(), text.size()), "%s", path.c_str());
  return {};
}

constexpr auto kSame = static_cast<unsigned>(-1);

Result<> act_as(unsigned uid, unsigned gid) {
  TRY(SYSCALL(::syscall(SYS_setresgid, kSame, gid, kSame), "become group %u", gid));
  TRY(SYSCALL(::syscall(SYS_setresuid, kSame, uid, kSame), "become user %u", uid));
  return {};
}

}  // namespace

void describe_object(int id, const ipc_perm& owner, schema::IpcObject* object) {
  object->set_id(id);
  object->set_key(owner.__key);
  object->set_mode(owner.mode & 0777);
  object->set_uid(owner.uid);
  object->set_gid(owner.gid);
  object->set_creator_uid(owner.cuid);
  object->set_creator_gid(owner.cgid);
}

void set_owner(const schema::IpcObject& object, ipc_perm* owner) {
  owner->uid = object.uid();
  owner->gid = object.gid();
  owner->mode = static_cast<decltype(owner->mode)>(object.mode() & 0777);
}

Result<> make_object(const char* kind, const schema::IpcObject& object,
                     const std::function<Result<int>(int key, int flags)>& make) {
  TRY(choose_next_id(kind, object.id()));
  const unsigned uid = ::geteuid();
  const unsigned gid = ::getegid();
  const bool other = object.creator_uid() != uid || object.creator_gid() != gid;
  if (other) TRY(act_as(object.creator_uid(), object.creator_gid()));
  Undo be_ourselves([&] {
    (void)SYSCALL(::syscall(SYS_setresuid, kSame, uid, kSame), "setresuid");
    (void)SYSCALL(::syscall(SYS_setresgid, kSame, gid, kSame), "setresgid");
  });
  if (!other) be_ourselves.cancel();
  const int flags = IPC_CREAT | IPC_EXCL | static_cast<int>(object.mode() & 0777);
  Result<int> made = make(object.key(), flags);
  if (!made.ok() && made.error().os_error() == EEXIST)
    return made.take_error().while_doing(
        strf("an object of key %#x exists already", static_cast<unsigned>(object.key())));
  const int id = TRY(std::move(made));
  if (id == object.id()) return {};
  return Error::unsupported(
      strf("id %d is in use in this ipc namespace (the kernel gave %d)", object.id(), id));
}

std::vector<int> ids_up_to(int last, const std::function<int(int index)>& id_at) {
  std::vector<int> ids;
  for (int index = 0; index <= last; index++) {
    const int id = id_at(index);
    if (id >= 0) ids.push_back(id);
  }
  return ids;
}

}  // namespace ncr::ipc_namespace
