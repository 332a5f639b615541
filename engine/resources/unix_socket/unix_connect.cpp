// The second half of restoring a unix socket (child): what was in flight to it is sent again, then
// its connection is shut down as far as it was, then options are set. A stream is filled by its
// peer. Datagrams come from a socket that bears the sender's name for a moment: if it is a path, in
// a file system of our own.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/resources/aside.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/socket_options.h"
#include "engine/resources/unix_socket/unix_bind.h"
#include "engine/resources/unix_socket/unix_queue.h"
#include "engine/resources/unix_socket/unix_socket.h"

namespace ncr::unix_socket {
namespace {

using schema::UnixSocket;

// A descriptor that belongs to FileRestorer.
class Borrowed {
 public:
  explicit Borrowed(int fd) : fd_(fd) {}
  ~Borrowed() { (void)fd_.release(); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  const Fd& get() const { return fd_; }

 private:
  Fd fd_;
};

// For as long as a queue is filled: room for all of it, and no credentials or names that the kernel
// adds by itself.
class Filler {
 public:
  static Result<Filler> take(const Fd& sender, size_t bytes, size_t messages) {
    Filler filler(sender.get());
    filler.buffer_ = TRY(get_int_option(sender, SOL_SOCKET, SO_SNDBUF, "SO_SNDBUF"));
    filler.pass_ = TRY(get_int_option(sender, SOL_SOCKET, SO_PASSCRED, "SO_PASSCRED"));
    int wanted = static_cast<int>(4 * bytes + 4096 * messages + 65536);
    if (wanted > filler.buffer_) (void)set_buffer_size(sender, SO_SNDBUF, wanted);
    TRY(set_int_option(sender, SOL_SOCKET, SO_PASSCRED, 0, "SO_PASSCRED"));
    return filler;
  }
  Result<> give_back() const {
    Borrowed sender(sender_);
    TRY(set_int_option(sender.get(), SOL_SOCKET, SO_PASSCRED, pass_, "SO_PASSCRED"));
    if (TRY(get_int_option(sender.get(), SOL_SOCKET, SO_SNDBUF, "SO_SNDBUF")) == buffer_) return {};
    return set_buffer_size(sender.get(), SO_SNDBUF, buffer_);
  }

 private:
  explicit Filler(int sender) : sender_(sender) {}
  int sender_;
  int buffer_ = 0;
  int pass_ = 0;
};

Result<Outgoing> outgoing(const FileRestorer& files, const schema::UnixMessage& message) {
  Outgoing out;
  out.data = &message.data();
  for (uint32_t id : message.files()) {
    int file = TRY_WHILE(files.opened(id), "a descriptor in flight");
    out.files.push_back(file);
  }
  const schema::UnixCredentials& from = message.credentials();
  if (message.has_credentials() && from.pid() != 0)
    out.credentials = ucred{files.number(from.pid()), from.uid(), from.gid()};
  return out;
}

Result<> send(const FileRestorer& files, const Fd& sender, const schema::UnixMessage& message) {
  Outgoing out = TRY(outgoing(files, message));
  Aside as = out.credentials ? as_peer(files, message.credentials()) : Aside{};
  int failed = TRY(run_aside(as, [&] { return send_message(sender.get(), out); }));
  if (failed == ESRCH) {  // the sender is long gone, and its pid cannot be had
    out.credentials.reset();
    failed = send_message(sender.get(), out);
  }
  if (failed != 0) return Error::system(failed, "send again what was in flight");
  return {};
}

Result<> fill(const FileRestorer& files, const UnixSocket& socket, const Fd& sender) {
  if (socket.queue_size() == 0) return {};
  size_t bytes = 0;
  for (const schema::UnixMessage& message : socket.queue()) bytes += message.data().size();
  Filler filler = TRY(Filler::take(sender, bytes, static_cast<size_t>(socket.queue_size())));
  for (const schema::UnixMessage& message : socket.queue()) TRY(send(files, sender, message));
  return filler.give_back();
}

// One datagram to a named socket, from a socket that bears the sender's name if that can be had.
Result<> send_datagram(FileRestorer& files, const UnixSocket& socket,
                       const schema::UnixMessage& message) {
  Fd sender(TRY(SYSCALL(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket")));
  if (!message.sender().empty())  // an abstract name may be taken: then without
    (void)bind_without_node(files, sender, message.sender(), Root::kOfSenders);
  Address address = TRY(address_to(files, socket));
  TRY(check_call(Result<int>(address.connect(sender.get())), "connect to", socket.name()));
  UnixSocket one;
  *one.add_queue() = message;
  return fill(files, one, sender);
}

Result<> set_shutdown(const Fd& fd, uint32_t shutdown) {
  if ((shutdown & 3) == 0) return {};
  int how = (shutdown & 3) == 3 ? SHUT_RDWR : (shutdown & 1) != 0 ? SHUT_RD : SHUT_WR;
  TRY(SYSCALL(::shutdown(fd.get(), how), "shutdown"));
  return {};
}

// The peer was closed: so is the one that stands in for it. Bytes that it did not read make the
// kernel report a reset.
Result<> close_peer(const UnixSocket& socket, const Fd& fd, Fd peer) {
  if (socket.reset()) TRY(SYSCALL(::send(fd.get(), "", 1, MSG_DONTWAIT | MSG_NOSIGNAL), "send"));
  peer.close();
  return {};
}

Result<> connect_pair(FileRestorer& files, const UnixSocket& socket, const Fd& fd) {
  Fd closed = files.take(kStash, closed_peer_key(socket.inode()));
  if (closed.valid()) {
    TRY(fill(files, socket, closed));
    TRY(close_peer(socket, fd, std::move(closed)));
    return socket.type() == SOCK_DGRAM ? set_shutdown(fd, socket.shutdown()) : Result<>();
  }
  const schema::OpenFile* peer = find_peer(files, socket);
  if (peer == nullptr) return {};  // waits to be accepted
  Borrowed sender(TRY(files.opened(peer->id())));
  TRY(fill(files, socket, sender.get()));
  // Of a connection the kernel keeps both ends in step: each end shuts down what it receives.
  if (socket.type() != SOCK_DGRAM) return set_shutdown(fd, socket.shutdown() & 1);
  // Each end may fill the other first: it is the later of the two that shuts down.
  Fd other_waits = files.take(kStash, socket_key(peer->unix_socket().inode()) + " filled");
  if (!other_waits.valid()) {
    files.stash(kStash, socket_key(socket.inode()) + " filled",
                Fd(TRY(SYSCALL(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC"))));
    return {};
  }
  TRY(set_shutdown(fd, socket.shutdown()));
  return set_shutdown(other_waits, peer->unix_socket().shutdown());
}

Result<> connect_by_name(FileRestorer& files, const UnixSocket& socket, const Fd& fd) {
  const schema::OpenFile* peer = find_peer(files, socket);
  if (peer != nullptr && !peer->unix_socket().name().empty()) {
    Address address = TRY(address_to(files, peer->unix_socket()));
    return check_call(Result<int>(address.connect(fd.get())), "connect to", socket.peer_name());
  }
  Address address(socket.peer_name());
  Result<> connected =
      check_call(Result<int>(address.connect(fd.get())), "connect to", socket.peer_name());
  if (connected.ok() || socket.peer_inode() == 0) return {};  // was dead before
  return connected;
}

Result<> connect_datagram(FileRestorer& files, const UnixSocket& socket, const Fd& fd) {
  for (const schema::UnixMessage& message : socket.queue())
    TRY(send_datagram(files, socket, message));
  if (socket.connected()) TRY(connect_by_name(files, socket, fd));
  return set_shutdown(fd, socket.shutdown());
}

bool is_joined(FileRestorer& files, const UnixSocket& socket) {
  Fd closed = files.take(kStash, closed_peer_key(socket.inode()));
  if (closed.valid()) {
    files.stash(kStash, closed_peer_key(socket.inode()), std::move(closed));
    return true;
  }
  return socket.type() != SOCK_DGRAM ? socket.connected() : is_datagram_pair(files, socket);
}

}  // namespace

Result<> connect(FileRestorer& files, const schema::OpenFile& record, const Fd& fd) {
  const UnixSocket& socket = record.unix_socket();
  if (is_joined(files, socket))
    TRY(connect_pair(files, socket, fd));
  else if (socket.type() == SOCK_DGRAM)
    TRY(connect_datagram(files, socket, fd));
  return set_socket_options(fd, socket.options());
}

}  // namespace ncr::unix_socket
