// What the sysctls limit was made under the limits of its time: objects may exceed them now, so
// they are raised before and set to what they were after. Runs in the engine's thread in the
// namespace, and in the root task.
#include "engine/resources/ipc_namespace/limits.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "engine/base/sys.h"

namespace ncr::ipc_namespace {
namespace {

constexpr const char* kNames[] = {
    "kernel/shmmax",          "kernel/shmall",        "kernel/shmmni",
    "kernel/shm_rmid_forced", "kernel/msgmax",        "kernel/msgmni",
    "kernel/msgmnb",          "kernel/sem",           "kernel/auto_msgmni",
    "fs/mqueue/msg_default",  "fs/mqueue/msg_max",    "fs/mqueue/msgsize_default",
    "fs/mqueue/msgsize_max",  "fs/mqueue/queues_max", "kernel/shm_next_id",
    "kernel/sem_next_id",     "kernel/msg_next_id"};

Result<std::string> value_of(const std::string& name) {
  std::string text = TRY(sys::read_file(("/proc/sys/" + name).c_str()));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Result<> set(const schema::IpcSysctl& sysctl) {
  Result<std::string> now = value_of(sysctl.name());
  if (!now.ok() && now.error().os_error() == ENOENT) return {};  // not of this kernel
  const std::string found = TRY(std::move(now));
  if (found == sysctl.value()) return {};
  const std::string path = "/proc/sys/" + sysctl.name();
  Fd file = TRY(sys::open(path.c_str(), O_WRONLY));
  TRY_WHILE(sys::write_all(file, sysctl.value().data(), sysctl.value().size()), "%s", path.c_str());
  return {};
}

void need(std::vector<schema::IpcSysctl>* needed, const char* name, uint64_t value) {
  schema::IpcSysctl& one = needed->emplace_back();
  one.set_name(name);
  one.set_value(std::to_string(value));
}

}  // namespace

Result<> dump_limits(schema::IpcNamespace* record) {
  for (const char* name : kNames) {
    Result<std::string> value = value_of(name);
    if (!value.ok() && value.error().os_error() == ENOENT) continue;
    schema::IpcSysctl* sysctl = record->add_sysctls();
    sysctl->set_name(name);
    sysctl->set_value(TRY(std::move(value)));
  }
  return {};
}

std::vector<schema::IpcSysctl> needed_limits(const schema::IpcNamespace& record) {
  uint64_t message = 0;
  uint64_t queue = 0;
  for (const schema::MessageQueue& one : record.queues()) {
    uint64_t held = 0;
    for (const schema::IpcMessage& sent : one.messages()) {
      message = std::max<uint64_t>(message, sent.text().size());
      held += sent.text().size();
    }
    queue = std::max({queue, held, one.most_bytes()});
  }
  uint64_t posix_messages = 0;
  uint64_t posix_size = 0;
  for (const schema::PosixQueue& one : record.posix_queues()) {
    posix_messages = std::max<uint64_t>(posix_messages, one.most_messages());
    posix_size = std::max<uint64_t>(posix_size, one.message_size());
  }
  std::vector<schema::IpcSysctl> needed;
  if (record.posix_queues_size() > 0) {
    need(&needed, "fs/mqueue/msg_max", posix_messages);
    need(&needed, "fs/mqueue/msgsize_max", posix_size);
    need(&needed, "fs/mqueue/queues_max", static_cast<uint64_t>(record.posix_queues_size()));
  }
  need(&needed, "kernel/msgmax", message);
  need(&needed, "kernel/msgmnb", queue);
  need(&needed, "kernel/msgmni", static_cast<uint64_t>(record.queues_size()));
  need(&needed, "kernel/shmmni", static_cast<uint64_t>(record.segments_size()));
  return needed;
}

Result<> raise_limits(const schema::IpcNamespace& record) {
  const std::vector<schema::IpcSysctl> needed = needed_limits(record);
  for (const schema::IpcSysctl& limit : needed) {
    const std::string now = TRY(value_of(limit.name()));
    if (std::strtoull(now.c_str(), nullptr, 10) < std::strtoull(limit.value().c_str(), nullptr, 10))
      TRY(set(limit));
  }
  return {};
}

Result<> set_limits(const schema::IpcNamespace& record) {
  for (const schema::IpcSysctl& sysctl : record.sysctls()) {
    const bool known = std::any_of(std::begin(kNames), std::end(kNames),
                                   [&](const char* name) { return sysctl.name() == name; });
    if (!known)
      return Error::malformed(
          strf("\"%s\" is no sysctl of an ipc namespace", sysctl.name().c_str()));
    TRY(set(sysctl));
  }
  return {};
}

}  // namespace ncr::ipc_namespace
