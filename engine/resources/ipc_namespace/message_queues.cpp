// A message queue (struct msg_queue) and its messages, which msgrcv(2) with MSG_COPY shows without
// taking them (CONFIG_CHECKPOINT_RESTORE): the number in place of the type is then an index. Runs
// in the engine's thread in the namespace, and in the root task.
#include "engine/resources/ipc_namespace/message_queues.h"

#include <sys/msg.h>

#include <cstring>
#include <vector>

#include "engine/base/sys.h"
#include "engine/resources/ipc_namespace/ipc_object.h"

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

namespace ncr::ipc_namespace {
namespace {

using Type = decltype(msgbuf::mtype);

Result<> dump_queue(int id, schema::MessageQueue* queue) {
  msqid_ds status{};
  TRY(SYSCALL(::msgctl(id, IPC_STAT, &status), "msgctl IPC_STAT"));
  describe_object(id, status.msg_perm, queue->mutable_object());
  queue->set_most_bytes(status.msg_qbytes);
  std::vector<char> buffer(sizeof(Type) + status.__msg_cbytes);
  for (msgqnum_t i = 0; i < status.msg_qnum; i++) {
    const ssize_t size =
        TRY(SYSCALL(::msgrcv(id, buffer.data(), status.__msg_cbytes, static_cast<Type>(i),
                             MSG_COPY | IPC_NOWAIT),
                    "msgrcv MSG_COPY of message %lu", static_cast<unsigned long>(i)));
    Type type = 0;
    std::memcpy(&type, buffer.data(), sizeof type);
    schema::IpcMessage* message = queue->add_messages();
    message->set_type(type);
    message->set_text(buffer.data() + sizeof type, static_cast<size_t>(size));
  }
  return {};
}

Result<> send(int id, const schema::IpcMessage& message) {
  std::vector<char> buffer(sizeof(Type) + message.text().size());
  const Type type = message.type();
  std::memcpy(buffer.data(), &type, sizeof type);
  std::memcpy(buffer.data() + sizeof type, message.text().data(), message.text().size());
  TRY(SYSCALL(::msgsnd(id, buffer.data(), message.text().size(), IPC_NOWAIT), "msgsnd of %zu bytes",
              message.text().size()));
  return {};
}

}  // namespace

Result<> dump_message_queues(schema::IpcNamespace* record) {
  msginfo usage{};
  const int last =
      TRY(SYSCALL(::msgctl(0, MSG_INFO, reinterpret_cast<msqid_ds*>(&usage)), "msgctl MSG_INFO"));
  const std::vector<int> ids = ids_up_to(last, [](int index) {
    msqid_ds status{};
    return ::msgctl(index, MSG_STAT, &status);
  });
  for (int id : ids) TRY_WHILE(dump_queue(id, record->add_queues()), "message queue %d", id);
  return {};
}

// The limits of the namespace are raised meanwhile: a queue may hold what was sent under others.
Result<> make_message_queue(const schema::MessageQueue& queue) {
  TRY(make_object("msg", queue.object(),
                  [](int key, int flags) { return SYSCALL(::msgget(key, flags), "msgget"); }));
  const int id = queue.object().id();
  uint64_t held = 0;
  for (const schema::IpcMessage& message : queue.messages()) held += message.text().size();
  msqid_ds status{};
  set_owner(queue.object(), &status.msg_perm);
  status.msg_qbytes = std::max(held, queue.most_bytes());
  TRY(SYSCALL(::msgctl(id, IPC_SET, &status), "msgctl IPC_SET"));
  for (const schema::IpcMessage& message : queue.messages()) TRY(send(id, message));
  if (status.msg_qbytes == queue.most_bytes()) return {};
  status.msg_qbytes = queue.most_bytes();
  TRY(SYSCALL(::msgctl(id, IPC_SET, &status), "msgctl IPC_SET"));
  return {};
}

}  // namespace ncr::ipc_namespace
