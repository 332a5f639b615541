// What is in flight to a unix socket (engine and child). The kernel keeps a list of buffers, each
// with its bytes, sender's name, credentials and descriptors (net/unix/af_unix.c).
// recvmsg(MSG_PEEK) shows the first of them, or of a stream all up to one with descriptors;
// SO_PEEK_OFF leads behind those. That offset belongs to the socket, not to us: it is moved and put
// back by a process that lives on if we are killed. Peeked descriptors are duplicates, installed in
// our table. Userspace cannot see where a
// stream's buffers begin: a copy that faults tells, see bytes_before_files().
#include "engine/resources/unix_socket/unix_queue.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "engine/base/call_code.h"
#include "engine/base/ids.h"
#include "engine/base/undo.h"
#include "engine/resources/aside.h"
#include "engine/resources/socket_options.h"

namespace ncr::unix_socket {
namespace {

constexpr size_t kMaxFiles = 253;  // SCM_MAX_FD
constexpr size_t kLogSize = 64 << 20;

// One message in the log that the peeking process leaves; its bytes follow.
struct Entry {
  size_t size;
  size_t sender_size;
  char sender[sizeof(sockaddr_un::sun_path)];
  bool has_credentials;
  ucred credentials;
  size_t file_count;
  int files[kMaxFiles];
};

struct Control {
  alignas(
      cmsghdr) char bytes[CMSG_SPACE(sizeof(int) * kMaxFiles) + CMSG_SPACE(sizeof(ucred)) + 512];
};

struct Log {
  char* memory = nullptr;
  size_t size = 0;
  size_t* used = nullptr;  // at the head of the memory

  Entry* next() const {
    if (*used + sizeof(Entry) + 1 > size) return nullptr;
    return reinterpret_cast<Entry*>(memory + *used);
  }
  size_t room() const { return size - *used - sizeof(Entry); }
  void add(const Entry* entry) const { *used += (sizeof(Entry) + entry->size + 7) & ~size_t{7}; }
};

void read_control(msghdr* message, Entry* entry) {
  for (cmsghdr* part = CMSG_FIRSTHDR(message); part != nullptr; part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET) continue;
    size_t size = part->cmsg_len - CMSG_LEN(0);
    if (part->cmsg_type == SCM_CREDENTIALS && size >= sizeof(ucred)) {
      memcpy(&entry->credentials, CMSG_DATA(part), sizeof(ucred));
      entry->has_credentials = true;
    }
    if (part->cmsg_type != SCM_RIGHTS) continue;
    entry->file_count = std::min(size / sizeof(int), kMaxFiles);
    memcpy(entry->files, CMSG_DATA(part), entry->file_count * sizeof(int));
  }
}

// 0, or an errno; EAGAIN: nothing there. ENOBUFS: the message does not fit.
int peek(int socket, size_t limit, Entry* entry) {
  memset(entry, 0, sizeof *entry);
  Control control;
  sockaddr_un sender{};
  iovec data{entry + 1, limit};
  msghdr message{};
  message.msg_name = &sender;
  message.msg_namelen = sizeof sender;
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = &control;
  message.msg_controllen = sizeof control;
  ssize_t got = ::recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return sys::code_of(got);
  entry->size = static_cast<size_t>(got);
  read_control(&message, entry);
  size_t prefix = offsetof(sockaddr_un, sun_path);
  if (message.msg_namelen > prefix) {
    entry->sender_size = std::min(message.msg_namelen - prefix, sizeof entry->sender);
    memcpy(entry->sender, sender.sun_path, entry->sender_size);
  }
  return (message.msg_flags & MSG_TRUNC) != 0 ? ENOBUFS : 0;
}

void close_files(const Entry* entry) {
  for (size_t i = 0; i < entry->file_count; i++) ::close(entry->files[i]);
}

int peek_at(int socket, int offset, size_t limit, Entry* entry) {
  int failed = sys::code_of(::setsockopt(socket, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset));
  if (failed != 0) return failed;
  return peek(socket, limit, entry);
}

// `entry` holds bytes from `offset` on, and descriptors that came with the last of the buffers that
// these bytes lie in: the number of bytes before that buffer. A copy that faults at the last byte
// leaves out its whole buffer, and only that.
int bytes_before_files(int socket, int offset, const Log& log, Entry* entry, size_t* before) {
  close_files(entry);
  int failed = sys::code_of(::setsockopt(socket, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset));
  if (failed != 0) return failed;
  iovec data[2] = {{entry + 1, entry->size - 1}, {log.memory + log.size, 1}};
  msghdr message{};
  message.msg_iov = data;
  message.msg_iovlen = 2;
  ssize_t got = ::recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT);
  failed = sys::code_of(got);
  if (failed != 0 && failed != EFAULT) return failed;
  *before = got < 0 ? 0 : static_cast<size_t>(got);
  return 0;
}

int peek_stream(int socket, const Log& log) {
  int offset = 0;
  for (;;) {
    Entry* entry = log.next();
    if (entry == nullptr) return ENOBUFS;
    int failed = peek_at(socket, offset, log.room(), entry);
    if (failed == EAGAIN) return 0;
    if (failed != 0) return failed;
    if (entry->size == 0) return 0;  // end of the stream
    size_t before = 0;
    if (entry->file_count != 0) {
      failed = bytes_before_files(socket, offset, log, entry, &before);
      if (failed != 0) return failed;
      failed = peek_at(socket, offset, before != 0 ? before : log.room(), entry);
      if (failed != 0) return failed;
    }
    if (before != 0) {  // looking at less shows the descriptors behind it all the same
      close_files(entry);
      entry->file_count = 0;
    }
    offset += static_cast<int>(entry->size);
    log.add(entry);
  }
}

// `ended`: a SOCK_SEQPACKET whose peer closed shows empty messages without end once `bytes` were
// seen.
int peek_datagrams(int socket, bool ended, int bytes, const Log& log) {
  int offset = 0;
  for (;;) {
    Entry* entry = log.next();
    if (entry == nullptr) return ENOBUFS;
    int failed = peek_at(socket, offset, log.room(), entry);
    if (failed == EAGAIN) return 0;
    if (failed != 0) return failed;
    if (entry->size == 0 && ended && offset >= bytes) return 0;
    offset += static_cast<int>(entry->size);
    log.add(entry);
  }
}

std::vector<Message> messages_of(const Log& log) {
  std::vector<Message> messages;
  size_t at = sizeof(Entry);
  while (at < *log.used) {
    const auto* entry = reinterpret_cast<const Entry*>(log.memory + at);
    Message message;
    message.data.assign(reinterpret_cast<const char*>(entry + 1), entry->size);
    message.sender.assign(entry->sender, entry->sender_size);
    for (size_t i = 0; i < entry->file_count; i++) message.files.emplace_back(entry->files[i]);
    if (entry->has_credentials) message.credentials = entry->credentials;
    messages.push_back(std::move(message));
    at += (sizeof(Entry) + entry->size + 7) & ~size_t{7};
  }
  return messages;
}

short ready(const Fd& socket) {
  pollfd waiting{socket.get(), POLLIN | POLLRDHUP, 0};
  return ::poll(&waiting, 1, 0) > 0 ? waiting.revents : short{0};
}

// Behind the log lies a page that cannot be written to.
Result<Log> make_log(size_t size) {
  size = page_ceil(size);
  void* memory = ::mmap(nullptr, size + kPageSize, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  TRY(SYSCALL(memory == MAP_FAILED ? -1 : 0, "mmap for a queue"));
  Log log{static_cast<char*>(memory), size, static_cast<size_t*>(memory)};
  TRY(SYSCALL(::mprotect(log.memory + size, kPageSize, PROT_NONE), "mprotect"));
  *log.used = sizeof(Entry);
  return log;
}

// Most streams: one look without an offset shows all.
bool peek_plain(const Fd& socket, size_t bytes, const Log& log) {
  Entry* entry = log.next();
  if (peek(socket.get(), log.room(), entry) != 0) return false;
  if (entry->size == bytes && entry->file_count == 0) {
    log.add(entry);
    return true;
  }
  close_files(entry);
  return false;
}

}  // namespace

Result<std::vector<Message>> peek_queue(const Fd& socket, int type) {
  short state = ready(socket);
  if ((state & POLLIN) == 0) return std::vector<Message>();
  int bytes = 0;
  TRY(SYSCALL(::ioctl(socket.get(), FIONREAD, &bytes), "ioctl FIONREAD"));
  if (type == SOCK_STREAM && bytes == 0) return std::vector<Message>();
  int own_offset = TRY(get_int_option(socket, SOL_SOCKET, SO_PEEK_OFF, "SO_PEEK_OFF"));
  Log log = TRY(make_log(kLogSize + 2 * static_cast<size_t>(bytes)));
  Undo unmap([&] { ::munmap(log.memory, log.size + kPageSize); });

  bool plain =
      type == SOCK_STREAM && own_offset < 0 && peek_plain(socket, static_cast<size_t>(bytes), log);
  if (plain) return messages_of(log);
  bool ended = type == SOCK_SEQPACKET && (state & POLLRDHUP) != 0;
  int failed = TRY(run_aside({.outlive_us = true}, [&] {
    int result = type == SOCK_STREAM ? peek_stream(socket.get(), log)
                                     : peek_datagrams(socket.get(), ended, bytes, log);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_PEEK_OFF, &own_offset, sizeof own_offset);
    return result;
  }));
  std::vector<Message> messages = messages_of(log);  // owns what was duplicated, also on failure
  if (failed != 0) return Error::system(failed, "peek at what is in flight");
  return messages;
}

int send_message(int socket, const Outgoing& outgoing) {
  Control control;
  memset(&control, 0, sizeof control);
  sockaddr_un to{};
  iovec data{const_cast<char*>(outgoing.data->data()), outgoing.data->size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (outgoing.to != nullptr) {
    to.sun_family = AF_UNIX;
    memcpy(to.sun_path, outgoing.to->data(), std::min(outgoing.to->size(), sizeof to.sun_path));
    message.msg_name = &to;
    message.msg_namelen =
        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + outgoing.to->size());
  }
  message.msg_control = &control;
  message.msg_controllen = sizeof control;
  cmsghdr* part = CMSG_FIRSTHDR(&message);
  size_t used = 0;
  auto add = [&](int type, const void* value, size_t size) {
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = type;
    part->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(part), value, size);
    used += CMSG_SPACE(size);
    part = reinterpret_cast<cmsghdr*>(control.bytes + used);
  };
  if (!outgoing.files.empty())
    add(SCM_RIGHTS, outgoing.files.data(), outgoing.files.size() * sizeof(int));
  if (outgoing.credentials) add(SCM_CREDENTIALS, &*outgoing.credentials, sizeof(ucred));
  message.msg_controllen = used;
  if (used == 0) message.msg_control = nullptr;
  do {
    ssize_t sent = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return sys::code_of(sent);
    data.iov_base = static_cast<char*>(data.iov_base) + sent;
    data.iov_len -= static_cast<size_t>(sent);
    message.msg_control = nullptr;
    message.msg_controllen = 0;
  } while (data.iov_len > 0);
  return 0;
}

}  // namespace ncr::unix_socket
