// POSIX message queues (struct mqueue_inode_info) are files of a file system that every ipc
// namespace has, mounted or not (mq_overview(7)). Their messages cannot be looked at: they are
// taken out, all of them, and put back in the order of taking them, which is the order they were
// in; nobody of the stopped tree can come in between. Runs in the engine's thread in the namespace,
// and in the root task.
#include "engine/resources/ipc_namespace/posix_queues.h"

#include <dirent.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "engine/base/proc.h"

namespace ncr::ipc_namespace {
namespace {

Result<Fd> mount_queues() {
  Fd context(TRY(SYSCALL(::fsopen("mqueue", FSOPEN_CLOEXEC), "fsopen mqueue")));
  TRY(SYSCALL(::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0),
              "fsconfig of mqueue"));
  Fd mount(TRY(SYSCALL(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0), "fsmount of mqueue")));
  return sys::open_at(mount, ".", O_RDONLY | O_DIRECTORY);
}

Result<std::vector<std::string>> names_in(Fd directory) {
  DIR* listing = ::fdopendir(directory.get());
  if (listing == nullptr) return Error::system(ENOMEM, "list the POSIX queues");
  (void)directory.release();
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(listing))
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
      names.emplace_back(entry->d_name);
  ::closedir(listing);
  std::sort(names.begin(), names.end());
  return names;
}

Result<> send(const Fd& queue, const schema::PosixMessage& message) {
  TRY(SYSCALL(
      ::mq_send(queue.get(), message.text().data(), message.text().size(), message.priority()),
      "mq_send of %zu bytes", message.text().size()));
  return {};
}

Result<> take_all(const Fd& file, long count, schema::PosixQueue* queue) {
  std::string buffer(queue->message_size(), '\0');
  for (long i = 0; i < count; i++) {
    unsigned priority = 0;
    const ssize_t size = TRY(
        SYSCALL(::mq_receive(file.get(), buffer.data(), buffer.size(), &priority), "mq_receive"));
    schema::PosixMessage* message = queue->add_messages();
    message->set_priority(priority);
    message->set_text(buffer.data(), static_cast<size_t>(size));
  }
  return {};
}

Result<> dump_messages(const Fd& file, long count, schema::PosixQueue* queue) {
  Result<> taken = take_all(file, count, queue);
  for (const schema::PosixMessage& message : queue->messages()) {
    Result<> back = send(file, message);
    if (taken.ok()) taken = std::move(back);
  }
  return taken;
}

Result<> dump_queue(const Fd& directory, const std::string& name, schema::PosixQueue* queue) {
  Fd file = TRY(sys::open_at(directory, name.c_str(), O_RDWR | O_NONBLOCK));
  struct stat status {};
  TRY(SYSCALL(::fstat(file.get(), &status), "fstat"));
  mq_attr attributes{};
  TRY(SYSCALL(::mq_getattr(file.get(), &attributes), "mq_getattr"));
  const std::string text = TRY(sys::read_file_at(directory, name.c_str()));
  if (has_notification(text))
    return Error::unsupported(
        strf("a process waits for a message on the POSIX queue %s (mq_notify)", name.c_str()));
  queue->set_name(name);
  queue->set_mode(status.st_mode & 07777);
  queue->set_uid(status.st_uid);
  queue->set_gid(status.st_gid);
  queue->set_most_messages(static_cast<uint32_t>(attributes.mq_maxmsg));
  queue->set_message_size(static_cast<uint32_t>(attributes.mq_msgsize));
  return dump_messages(file, attributes.mq_curmsgs, queue);
}

}  // namespace

bool has_notification(std::string_view status) {
  constexpr std::string_view kPid = "NOTIFY_PID:";
  const size_t at = status.find(kPid);
  if (at == status.npos) return false;
  std::string_view pid = status.substr(at + kPid.size());
  return !pid.empty() && pid[0] != '0';
}

Result<> dump_posix_queues(schema::IpcNamespace* record) {
  Result<Fd> mounted = mount_queues();
  if (!mounted.ok() && mounted.error().os_error() == ENODEV) return {};  // a kernel without them
  Fd directory = TRY(std::move(mounted));
  Fd listing = TRY(sys::open_at(directory, ".", O_RDONLY | O_DIRECTORY));
  const std::vector<std::string> names = TRY(names_in(std::move(listing)));
  for (const std::string& name : names)
    TRY_WHILE(dump_queue(directory, name, record->add_posix_queues()), "POSIX queue %s",
              name.c_str());
  return {};
}

Result<> make_posix_queue(const schema::PosixQueue& queue) {
  mq_attr attributes{};
  attributes.mq_maxmsg = static_cast<long>(queue.most_messages());
  attributes.mq_msgsize = static_cast<long>(queue.message_size());
  const std::string name = "/" + queue.name();
  Result<mqd_t> opened =
      SYSCALL(::mq_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK, 0600, &attributes),
              "mq_open %s", name.c_str());
  if (!opened.ok() && opened.error().os_error() == EMFILE)
    return opened.take_error().while_doing("the limit of POSIX queues is too low (ulimit -q)");
  Fd file(TRY(std::move(opened)));
  for (const schema::PosixMessage& message : queue.messages()) TRY(send(file, message));
  TRY(SYSCALL(::fchown(file.get(), queue.uid(), queue.gid()), "chown"));
  TRY(SYSCALL(::fchmod(file.get(), queue.mode() & 07777), "chmod"));
  return {};
}

}  // namespace ncr::ipc_namespace
