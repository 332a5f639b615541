// IPC namespace (struct ipc_namespace): System V segments, semaphores and queues, POSIX queues, and
// their sysctls, which /proc/sys shows of the reader's namespace.
#include <fcntl.h>
#include <sched.h>
#include <sys/shm.h>
#include <sys/stat.h>

#include <algorithm>

#include "engine/resources/ipc_namespace/limits.h"
#include "engine/resources/ipc_namespace/message_queues.h"
#include "engine/resources/ipc_namespace/posix_queues.h"
#include "engine/resources/ipc_namespace/segments.h"
#include "engine/resources/ipc_namespace/semaphores.h"
#include "engine/resources/room.h"
#include "engine/resources/user_namespace/id_map.h"

namespace ncr::ipc_namespace {
namespace {

// The kernel says them as our user namespace numbers them, the root task sets them in the tree's.
class InnerIds {
 public:
  static Result<InnerIds> of(const Fd& proc) {
    InnerIds ids;
    Fd self = TRY(sys::open("/proc/thread-self", O_PATH | O_DIRECTORY));
    if (TRY(sys::read_link_at(self, "ns/user")) == TRY(sys::read_link_at(proc, "ns/user")))
      return ids;
    const std::string uids = TRY(sys::read_file_at(proc, "uid_map"));
    TRY(user_namespace::parse_id_map(uids, ids.maps_.mutable_uids()));
    const std::string gids = TRY(sys::read_file_at(proc, "gid_map"));
    TRY(user_namespace::parse_id_map(gids, ids.maps_.mutable_gids()));
    return ids;
  }
  Result<uint32_t> uid(uint32_t outside) const { return translated(maps_.uids(), outside); }
  Result<uint32_t> gid(uint32_t outside) const { return translated(maps_.gids(), outside); }
  Result<> translate(schema::IpcObject* object) const {
    object->set_uid(TRY(uid(object->uid())));
    object->set_gid(TRY(gid(object->gid())));
    object->set_creator_uid(TRY(uid(object->creator_uid())));
    object->set_creator_gid(TRY(gid(object->creator_gid())));
    return {};
  }

 private:
  static Result<uint32_t> translated(const user_namespace::IdRanges& ranges, uint32_t outside) {
    const std::optional<uint32_t> inner = user_namespace::inside(ranges, outside);
    if (inner.has_value()) return *inner;
    return Error::unsupported(
        strf("an object belongs to id %u, which its user namespace does not map", outside));
  }
  schema::UserNamespace maps_;
};

Result<> translate_ids(const InnerIds& ids, schema::IpcNamespace* ipc) {
  for (schema::SharedSegment& segment : *ipc->mutable_segments())
    TRY_WHILE(ids.translate(segment.mutable_object()), "segment");
  for (schema::SemaphoreSet& set : *ipc->mutable_semaphores())
    TRY_WHILE(ids.translate(set.mutable_object()), "semaphores");
  for (schema::MessageQueue& queue : *ipc->mutable_queues())
    TRY_WHILE(ids.translate(queue.mutable_object()), "message queue");
  for (schema::PosixQueue& queue : *ipc->mutable_posix_queues()) {
    queue.set_uid(TRY(ids.uid(queue.uid())));
    queue.set_gid(TRY(ids.gid(queue.gid())));
  }
  return {};
}

Result<> dump_objects(const NamespaceProbe& probe, schema::IpcNamespace* ipc) {
  struct stat status {};
  TRY(SYSCALL(::fstat(probe.fd.get(), &status), "fstat an ipc namespace"));
  TRY(dump_limits(ipc));
  TRY(dump_segments(status.st_ino, probe.content, ipc));
  TRY(dump_semaphores(ipc));
  TRY(dump_message_queues(ipc));
  TRY(dump_posix_queues(ipc));
  const InnerIds ids = TRY(InnerIds::of(probe.tasks.front().proc));
  return translate_ids(ids, ipc);
}

Result<> dump(const NamespaceProbe& probe, schema::Namespace* record, Blockers& blockers) {
  Result<> dumped = dump_objects(probe, record->mutable_ipc());
  if (dumped.ok() || dumped.error().code() != ErrorCode::kUnsupported) return dumped;
  blockers.add(probe.member, "ipc namespace", dumped.error().text());
  return {};
}

// A segment that goes with its last attachment is held by one of ours, which goes when the restored
// tasks give up our memory: by then they have attached it themselves.
Result<> hold_and_remove(const schema::SharedSegment& segment) {
  const void* held = ::shmat(segment.object().id(), nullptr, SHM_RDONLY);
  TRY(SYSCALL(held == reinterpret_cast<void*>(-1) ? -1 : 0, "shmat"));
  return mark_removed(segment);
}

Result<> build(const NamespaceBuild& build) {
  const schema::IpcNamespace& ipc = build.record.ipc();
  TRY(raise_limits(ipc));
  for (const schema::SharedSegment& segment : ipc.segments()) {
    const int id = segment.object().id();
    TRY_WHILE(make_segment(segment, build.image, build.request.threads), "segment %d", id);
    if (segment.removed()) TRY_WHILE(hold_and_remove(segment), "segment %d", id);
  }
  for (const schema::SemaphoreSet& set : ipc.semaphores())
    TRY_WHILE(make_semaphores(set), "semaphores %d", set.object().id());
  for (const schema::MessageQueue& queue : ipc.queues())
    TRY_WHILE(make_message_queue(queue), "message queue %d", queue.object().id());
  for (const schema::PosixQueue& queue : ipc.posix_queues())
    TRY_WHILE(make_posix_queue(queue), "POSIX queue %s", queue.name().c_str());
  return set_limits(ipc);
}

}  // namespace

extern const NamespaceRoom kRoom = {.name = "ipc",
                                    .kind = schema::Namespace::kIpc,
                                    .clone_flag = CLONE_NEWIPC,
                                    .dump = dump,
                                    .build = build};

}  // namespace ncr::ipc_namespace
