// Unix sockets made again (child). Both ends of a connection are made at the first of them and the
// other is left in the stash. What the kernel takes from the maker is given by a process aside:
// SO_PEERCRED from who calls listen, connect or socketpair, and a name from where the maker stands.
// The accepted end of a connection bears its listener's name, so the connection goes through a
// listener for a moment: in an empty file system of our own for a path, so that the real one is
// never touched; for an abstract name before the real listener takes it. Order: names and
// connections in open(); queues, then shutdown and options in connect() (unix_connect.cpp), as each
// of them would stop the ones before.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/call_code.h"
#include "engine/resources/aside.h"
#include "engine/resources/status_flags.h"
#include "engine/resources/unix_socket/unix_bind.h"
#include "engine/resources/unix_socket/unix_socket.h"

namespace ncr::unix_socket {

using schema::UnixSocket;

std::string socket_key(uint64_t inode) {
  return strf("socket %llu", static_cast<unsigned long long>(inode));
}
std::string closed_peer_key(uint64_t inode) {
  return strf("closed peer of %llu", static_cast<unsigned long long>(inode));
}

namespace {

const schema::OpenFile* find_among(const std::vector<const schema::OpenFile*>& files,
                                   uint64_t inode) {
  for (const schema::OpenFile* file : files)
    if (file->has_unix_socket() && file->unix_socket().inode() == inode) return file;
  return nullptr;
}

}  // namespace

const schema::OpenFile* find_peer(const FileRestorer& files, const UnixSocket& socket) {
  uint64_t peer = socket.peer_inode();
  if (peer == 0) return nullptr;
  const schema::OpenFile* found = find_among(files.members(pair_group(socket.inode(), peer)), peer);
  if (found != nullptr || socket.peer_name().empty()) return found;
  return find_among(files.members(name_group(socket.peer_name())), peer);
}

bool is_datagram_pair(const FileRestorer& files, const UnixSocket& socket) {
  if (socket.type() != SOCK_DGRAM || !socket.connected()) return false;
  if (socket.peer_inode() == 0) return socket.peer_name().empty();
  const schema::OpenFile* peer = find_peer(files, socket);
  if (peer == nullptr) return socket.peer_name().empty();  // outside the tree
  if (peer->unix_socket().peer_inode() != socket.inode()) return false;
  return socket.name().empty() || peer->unix_socket().name().empty();
}

namespace {

Result<Fd> new_socket(uint32_t type) {
  return Fd(TRY(SYSCALL(::socket(AF_UNIX, static_cast<int>(type) | SOCK_CLOEXEC, 0), "socket")));
}

bool is_listener(const schema::OpenFile& file, uint32_t type, const std::string& name) {
  return file.has_unix_socket() && file.unix_socket().listening() &&
         file.unix_socket().type() == type && file.unix_socket().name() == name;
}

const schema::OpenFile* find_listener(const FileRestorer& files, uint32_t type,
                                      const std::string& name) {
  for (const schema::OpenFile* file : files.members(name_group(name)))
    if (is_listener(*file, type, name)) return file;
  return nullptr;
}

const schema::OpenFile* find_listener_of(const FileRestorer& files, uint64_t waiting_client) {
  for (const schema::OpenFile* file : files.members(pair_group(waiting_client, waiting_client)))
    if (file->has_unix_socket())
      for (uint64_t client : file->unix_socket().pending())
        if (client == waiting_client) return file;
  return nullptr;
}

// Whether a process with this pid may appear for a moment: not if another process of the tree has
// it, save our descendants, which are not born yet.
bool may_appear(const FileRestorer& files, int32_t pid) {
  const Image& image = files.image();
  if (files.number(pid) == 0) return false;
  int32_t at = 0;
  for (const schema::Task& task : image.tasks)
    for (const schema::Thread& thread : task.threads())
      if (thread.tid() == pid || task.pid() == pid) at = task.pid();
  for (size_t steps = 0; at != 0 && steps <= image.tasks.size(); steps++) {
    if (files.number(at) == ::getpid()) return pid != at;
    int32_t parent = 0;
    for (const schema::Task& task : image.tasks)
      if (task.pid() == at) parent = task.ppid();
    if (parent == 0) return false;
    at = parent;
  }
  return true;
}

bool is_made(FileRestorer& files, const schema::OpenFile& record) {
  if (files.opened(record.id()).ok()) return true;
  std::string key = socket_key(record.unix_socket().inode());
  Fd made = files.take(kStash, key);
  if (!made.valid()) return false;
  files.stash(kStash, key, std::move(made));
  return true;
}

// `far` is a peer that is closed since if it has no inode: needed once more, for the queue.
void keep(FileRestorer& files, const UnixSocket& socket, const UnixSocket& far, Fd fd) {
  bool closed = socket.inode() == 0;
  files.stash(kStash, closed ? closed_peer_key(far.inode()) : socket_key(socket.inode()),
              std::move(fd));
}

Result<> make_pair(FileRestorer& files, const UnixSocket& a, const UnixSocket& b) {
  int pair[2] = {-1, -1};
  Fd first =
      TRY(new_socket(a.type()));  // holds the numbers that the process aside puts the pair at
  Fd second = TRY(new_socket(a.type()));
  Aside maker = as_peer(files, a.peer_credentials());
  TRY(check_call(run_aside(maker,
                           [&] {
                             int failed = sys::code_of(::socketpair(
                                 AF_UNIX, static_cast<int>(a.type()) | SOCK_CLOEXEC, 0, pair));
                             if (failed != 0) return failed;
                             ::dup3(pair[0], first.get(), O_CLOEXEC);
                             ::dup3(pair[1], second.get(), O_CLOEXEC);
                             ::close(pair[0]);
                             ::close(pair[1]);
                             return 0;
                           }),
                 "socketpair", ""));
  TRY(bind_socket(files, first, a));
  TRY(bind_socket(files, second, b));
  keep(files, a, b, std::move(first));
  keep(files, b, a, std::move(second));
  return {};
}

Result<> make_accepted(FileRestorer& files, const UnixSocket& client, const UnixSocket& server) {
  Fd end = TRY(new_socket(client.type()));
  TRY(bind_socket(files, end, client));
  Fd listener = TRY(new_socket(server.type()));
  Address address(server.name());
  Aside listening = as_peer(files, client.peer_credentials());
  Aside connecting = as_peer(files, server.peer_credentials());
  listening.root = connecting.root = TRY(root_for(files, server.name(), Root::kOfSenders));
  TRY(check_call(run_aside(listening,
                           [&] {
                             address.unlink();
                             int failed = address.bind(listener.get());
                             if (failed != 0) return failed;
                             return sys::code_of(::listen(listener.get(), 1));
                           }),
                 "listen at", server.name()));
  TRY(check_call(run_aside(connecting,
                           [&] {
                             int failed = address.connect(end.get());
                             address.unlink();
                             return failed;
                           }),
                 "connect to", server.name()));
  Fd accepted(TRY(SYSCALL(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept")));
  keep(files, client, server, std::move(end));
  keep(files, server, client, std::move(accepted));
  return {};
}

// The end that is closed, as far as the other remembers it.
UnixSocket closed_peer_of(const UnixSocket& socket) {
  UnixSocket peer;
  peer.set_type(socket.type());
  peer.set_name(socket.peer_name());
  peer.set_peer_name(socket.name());
  *peer.mutable_peer_credentials() = socket.peer_credentials();
  return peer;
}

// A new connection to a server outside the tree; false if nobody answers there.
Result<bool> connect_outside(FileRestorer& files, const UnixSocket& socket) {
  if (socket.peer_name().empty() || is_accepted(socket)) return false;
  Fd end = TRY(new_socket(socket.type() | SOCK_NONBLOCK));  // not to wait for its accept queue
  TRY(bind_socket(files, end, socket));
  Address address(socket.peer_name());
  if (address.connect(end.get()) != 0) return false;
  files.stash(kStash, socket_key(socket.inode()), std::move(end));
  return true;
}

// An end whose other one is not in the image was held outside the tree.
Result<> make_connection(FileRestorer& files, const UnixSocket& socket) {
  const schema::OpenFile* record = find_peer(files, socket);
  if (record == nullptr && socket.peer_inode() != 0 && TRY(connect_outside(files, socket)))
    return {};
  const UnixSocket peer = record != nullptr ? record->unix_socket() : closed_peer_of(socket);
  if (is_accepted(socket)) return make_accepted(files, peer, socket);
  if (!socket.peer_name().empty() && socket.type() != SOCK_DGRAM)
    return make_accepted(files, socket, peer);
  return make_pair(files, socket, peer);
}

// Clients in the accept queue, in their order.
Result<> make_waiting(FileRestorer& files, const UnixSocket& listener) {
  for (uint64_t inode : listener.pending()) {
    const schema::OpenFile* record = find_among(files.members(pair_group(inode, inode)), inode);
    if (record == nullptr)
      return Error::malformed("a client that waits to be accepted is not in the image");
    const UnixSocket& client = record->unix_socket();
    Fd end = TRY(new_socket(client.type()));
    TRY(bind_socket(files, end, client));
    Address address = TRY(address_to(files, listener));
    Aside connecting = as_holder(files, record->id());
    TRY(check_call(run_aside(connecting, [&] { return address.connect(end.get()); }), "connect to",
                   listener.name()));
    files.stash(kStash, socket_key(inode), std::move(end));
  }
  return {};
}

Result<Fd> make_listener(FileRestorer& files, const UnixSocket& socket) {
  if (is_abstract(socket.name()))
    for (const schema::OpenFile* member : files.members(name_group(socket.name())))
      if (const schema::OpenFile& file = *member;
          file.has_unix_socket() && file.unix_socket().type() == socket.type() &&
          file.unix_socket().name() == socket.name() && is_accepted(file.unix_socket()) &&
          !is_made(files, file))
        TRY(make_connection(files, file.unix_socket()));
  Fd listener = TRY(new_socket(socket.type()));
  TRY(bind_socket(files, listener, socket));
  int backlog = static_cast<int>(socket.backlog());
  TRY(check_call(run_aside(as_peer(files, socket.peer_credentials()),
                           [&] { return sys::code_of(::listen(listener.get(), backlog)); }),
                 "listen at", socket.name()));
  TRY(make_waiting(files, socket));
  return listener;
}

Result<> ensure_listener(FileRestorer& files, const schema::OpenFile& record) {
  if (is_made(files, record)) return {};
  Fd listener = TRY(make_listener(files, record.unix_socket()));
  files.stash(kStash, socket_key(record.unix_socket().inode()), std::move(listener));
  return {};
}

Result<> make_connected(FileRestorer& files, const UnixSocket& socket) {
  if (const schema::OpenFile* listener = find_listener_of(files, socket.inode()))
    return ensure_listener(files, *listener);
  const std::string& name = is_accepted(socket) ? socket.name() : socket.peer_name();
  const schema::OpenFile* listener =
      is_abstract(name) ? find_listener(files, socket.type(), name) : nullptr;
  if (listener != nullptr) TRY(ensure_listener(files, *listener));
  Fd made = files.take(kStash, socket_key(socket.inode()));
  if (!made.valid()) return make_connection(files, socket);
  files.stash(kStash, socket_key(socket.inode()), std::move(made));
  return {};
}

Result<Fd> make(FileRestorer& files, const UnixSocket& socket) {
  if (socket.listening()) return make_listener(files, socket);
  if (socket.connected() && socket.type() != SOCK_DGRAM) {
    TRY(make_connected(files, socket));
  } else if (is_datagram_pair(files, socket)) {
    TRY(make_connection(files, socket));
  } else {
    Fd alone = TRY(new_socket(socket.type()));
    TRY(bind_socket(files, alone, socket));
    return alone;
  }
  Fd made = files.take(kStash, socket_key(socket.inode()));
  if (!made.valid())
    return Error::malformed("a unix socket is connected in a way that does not lead back to it");
  return made;
}

}  // namespace

Aside as_peer(const FileRestorer& files, const schema::UnixCredentials& credentials) {
  Aside aside;
  const pid_t pid = credentials.pid();
  if (pid == 0 && (credentials.uid() == 0 || credentials.uid() == ~0u)) return aside;
  aside.as_who = true;
  aside.who = {pid != 0 && may_appear(files, pid) ? files.number(pid) : ::getpid(),
               credentials.uid(), credentials.gid()};
  return aside;
}

Aside as_holder(const FileRestorer& files, uint32_t file_id) {
  for (const schema::Task& task : files.image().tasks)
    for (const schema::Descriptor& descriptor : task.descriptors()) {
      if (descriptor.file_id() != file_id || task.threads_size() == 0) continue;
      const schema::Credentials& ids = task.threads(0).credentials();
      schema::UnixCredentials credentials;
      credentials.set_pid(task.pid());
      credentials.set_uid(ids.uids_size() > 1 ? ids.uids(1) : 0);
      credentials.set_gid(ids.gids_size() > 1 ? ids.gids(1) : 0);
      return as_peer(files, credentials);
    }
  return {};
}

Result<Fd> open(FileRestorer& files, const schema::OpenFile& record) {
  const UnixSocket& socket = record.unix_socket();
  Fd fd = files.take(kStash, socket_key(socket.inode()));
  if (!fd.valid()) fd = TRY(make(files, socket));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace ncr::unix_socket
