// A unix socket (struct unix_sock, net/unix/af_unix.c): type, name, peer, receive queue, shutdown
// state, options. Asked through our own duplicate of the descriptor; the peer comes from
// sock_diag(7), by inode. Userspace cannot see who waits in a listener's accept queue beyond the
// inode of the client, nor what such a client has sent already: that is a blocker. A peer outside
// the tree is a blocker too, save for a datagram socket connected to a name, which is connected to
// that name again; unless the request allows it: then a connection to a name is made anew, and of
// any other, or if nobody answers there, the program sees that the peer has closed it.
#include "engine/resources/unix_socket/unix_socket.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <map>
#include <set>

#include "engine/resources/file_table.h"
#include "engine/resources/socket_options.h"
#include "engine/resources/unix_socket/unix_diag.h"
#include "engine/resources/unix_socket/unix_names.h"
#include "engine/resources/unix_socket/unix_queue.h"

namespace ncr::unix_socket {
namespace {

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (SIOCPROTOPRIVATE + 0)
#endif

bool recognises(const FdProbe& probe) {
  if (!S_ISSOCK(probe.stat.st_mode) || !probe.link.starts_with("socket:")) return false;
  Result<int> domain = get_int_option(probe.local, SOL_SOCKET, SO_DOMAIN, "SO_DOMAIN");
  return domain.ok() && domain.value() == AF_UNIX;
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  SocketOptions filter;
  Result<> readable = read_socket_filter(probe.local, &filter);
  if (!readable.ok())
    blockers.add(*probe.task, probe.where(), readable.error().text(),
                 "detach the filter (SO_DETACH_FILTER) before the dump");
  char byte = 0;
  if (::recv(probe.local.get(), &byte, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) == 1)
    blockers.add(*probe.task, probe.where(), "a unix socket with an out-of-band byte in flight",
                 "let the program read it first");
  return {};
}

using NameCall = int (*)(int, sockaddr*, socklen_t*);

Result<std::string> read_name(const Fd& socket, NameCall call) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  Result<int> got = SYSCALL(call(socket.get(), reinterpret_cast<sockaddr*>(&address), &size),
                            "name of a unix socket");
  if (!got.ok() && got.error().os_error() == ENOTCONN) return std::string();
  if (!got.ok()) return got.take_error();
  return name_of(address, size);
}

// The node in the file system, if it is still there. The kernel hands out the very file
// (CAP_NET_ADMIN).
Result<> read_node(const FdProbe& probe, schema::UnixSocket* out) {
  Result<int> file = SYSCALL(::ioctl(probe.local.get(), SIOCUNIXFILE), "ioctl SIOCUNIXFILE");
  if (!file.ok() && file.error().os_error() == ENOENT) return {};
  if (!file.ok()) return file.take_error();
  Fd node(file.take());
  struct stat stat {};
  TRY(SYSCALL(::fstat(node.get(), &stat), "stat %s", printable(out->name()).c_str()));
  if (stat.st_nlink == 0) return {};
  std::string self = strf("/proc/self/fd/%d", node.get());
  std::string path = TRY(sys::read_link_at(Fd(), self.c_str()));
  out->mutable_node()->set_path(path);
  out->mutable_node()->set_mode(stat.st_mode & 07777);
  out->mutable_node()->set_uid(stat.st_uid);
  out->mutable_node()->set_gid(stat.st_gid);
  return {};
}

void set_credentials(const ucred& from, schema::UnixCredentials* to) {
  to->set_pid(from.pid);
  to->set_uid(from.uid);
  to->set_gid(from.gid);
}

Result<> read_peer(const FdProbe& probe, schema::UnixSocket* out) {
  Diag diag = TRY(query_diag(probe.local, out->inode()));
  out->set_listening(diag.state == TCP_LISTEN);
  out->set_backlog(out->listening() ? diag.send_queue : 0);
  out->set_connected(diag.has_peer);
  out->set_peer_inode(diag.peer_inode);
  out->set_shutdown(diag.shutdown);
  if (out->listening())
    for (uint64_t client : diag.pending) out->add_pending(client);
  ucred credentials{};
  socklen_t size = sizeof credentials;
  TRY(SYSCALL(::getsockopt(probe.local.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size),
              "getsockopt SO_PEERCRED"));
  if (credentials.pid != 0) set_credentials(credentials, out->mutable_peer_credentials());
  pollfd state{probe.local.get(), 0, 0};
  out->set_reset(out->connected() && ::poll(&state, 1, 0) > 0 && (state.revents & POLLERR) != 0);
  int unread = 0;
  TRY(SYSCALL(::ioctl(probe.local.get(), SIOCOUTQ, &unread), "ioctl SIOCOUTQ"));
  out->set_sent_unread(!out->listening() && unread > 0);
  return {};
}

Result<> read_queue(FileTable& files, const FdProbe& probe, schema::OpenFile* record) {
  schema::UnixSocket* out = record->mutable_unix_socket();
  std::vector<Message> messages = TRY(peek_queue(probe.local, static_cast<int>(out->type())));
  for (Message& message : messages) {
    schema::UnixMessage* copy = out->add_queue();
    copy->set_data(std::move(message.data));
    copy->set_sender(message.sender);
    if (message.credentials) set_credentials(*message.credentials, copy->mutable_credentials());
    for (Fd& file : message.files) {
      uint32_t id = TRY_WHILE(files.add_local(std::move(file)), "descriptor in flight");
      copy->add_files(id);
      record->add_depends_on(id);
    }
  }
  return {};
}

Result<> dump(FileTable& files, const FdProbe& probe, schema::OpenFile* record) {
  schema::UnixSocket* out = record->mutable_unix_socket();
  out->set_inode(probe.stat.st_ino);
  out->set_type(
      static_cast<uint32_t>(TRY(get_int_option(probe.local, SOL_SOCKET, SO_TYPE, "SO_TYPE"))));
  out->set_name(TRY(read_name(probe.local, ::getsockname)));
  out->set_peer_name(TRY(read_name(probe.local, ::getpeername)));
  TRY(read_peer(probe, out));
  if (!out->name().empty() && !is_abstract(out->name()) && !is_accepted(*out))
    TRY(read_node(probe, out));
  TRY(read_socket_options(probe.local, common_socket_options(), out->mutable_options()));
  TRY(read_socket_filter(probe.local, out->mutable_options()));
  if (!out->listening()) TRY(read_queue(files, probe, record));
  set_groups(record);
  return {};
}

// ---- What reaches outside the tree
// -------------------------------------------------------------------------------------

struct Checker {
  const std::vector<SeenFile>& all;
  const DumpRequest& request;
  Blockers& blockers;
  std::map<uint64_t, const schema::UnixSocket*> sockets;  // by inode
  std::map<uint64_t, uint64_t> waiting;                   // client -> listener

  void block(const SeenFile& file, const std::string& reason, const std::string& way_out) const {
    const Task* holder = file.holder;
    for (const SeenFile& other : all)
      if (holder == nullptr) holder = other.holder;
    if (holder == nullptr) return;
    const schema::UnixSocket& socket = file.record->unix_socket();
    std::string name = socket.name().empty() ? socket.peer_name() : socket.name();
    std::string where =
        file.holder != nullptr ? strf("fd %d", raw(file.number)) : std::string("in flight");
    blockers.add(*holder,
                 strf("%s: unix socket %s", where.c_str(),
                      name.empty() ? "without a name" : printable(name).c_str()),
                 reason, way_out);
  }

  // By criu's names: every such socket, or this one by either end's inode.
  bool may_lose_peer(const schema::UnixSocket& socket) const {
    const std::string own = std::to_string(socket.inode());
    const std::string peer = std::to_string(socket.peer_inode());
    return request.external_unix_sockets ||
           std::any_of(request.externals.begin(), request.externals.end(),
                       [&](const External& external) {
                         return external.kind == "unix" &&
                                (external.object == own || external.object == peer);
                       });
  }

  void check_listener(const SeenFile& file) const {
    for (uint64_t client : file.record->unix_socket().pending()) {
      if (!sockets.contains(client))
        block(file, "a client outside the tree waits to be accepted",
              "let the program accept it, or stop the client, and dump again");
      else if (sockets.at(client)->sent_unread())
        block(file, "a client has sent bytes and is not accepted yet",
              "let the program accept it, and dump again");
    }
  }

  void check_connected(const SeenFile& file) const {
    const schema::UnixSocket& socket = file.record->unix_socket();
    if (socket.peer_inode() == 0) {
      bool closed = (socket.shutdown() & 3) == 3;
      if (!closed && !waiting.contains(socket.inode()))
        block(file, "waits to be accepted by a listener outside the tree",
              "dump the server as well, or close the connection before");
      return;
    }
    if (!sockets.contains(socket.peer_inode()) && !may_lose_peer(socket))
      block(
          file, "its peer is outside the tree",
          "dump the peer's process as well (a common ancestor), or close the connection before, or "
          "let it be connected by its name again, or closed, at restore (--ext-unix-sk)");
  }

  void check_datagram(const SeenFile& file) const {
    const schema::UnixSocket& socket = file.record->unix_socket();
    bool peer_inside = sockets.contains(socket.peer_inode());
    if (socket.peer_inode() != 0 && !peer_inside && socket.peer_name().empty() &&
        !may_lose_peer(socket))
      block(
          file, "its peer is outside the tree and has no name",
          "dump the peer's process as well, or close the socket before, or let its peer be closed "
          "at restore (--ext-unix-sk)");
    bool mutual = peer_inside && sockets.at(socket.peer_inode())->peer_inode() == socket.inode();
    bool orphan = socket.connected() && socket.peer_inode() == 0;
    if (socket.queue_size() != 0 && socket.name().empty() && !mutual && !orphan)
      block(file, "datagrams wait in it that nobody could send again: it has no name",
            "let the program read them, and dump again");
  }
};

Result<> check(const std::vector<SeenFile>& all, const DumpRequest& request, Blockers& blockers) {
  Checker checker{all, request, blockers, {}, {}};
  for (const SeenFile& file : all) {
    if (!file.record->has_unix_socket()) continue;
    const schema::UnixSocket& socket = file.record->unix_socket();
    checker.sockets[socket.inode()] = &socket;
    for (uint64_t client : socket.pending()) checker.waiting[client] = socket.inode();
  }
  std::set<uint32_t> checked;  // a file is seen once per descriptor
  for (const SeenFile& file : all) {
    if (!file.record->has_unix_socket() || !checked.insert(file.record->id()).second) continue;
    const schema::UnixSocket& socket = file.record->unix_socket();
    if (socket.listening())
      checker.check_listener(file);
    else if (socket.type() == SOCK_DGRAM)
      checker.check_datagram(file);
    else if (socket.connected())
      checker.check_connected(file);
  }
  return {};
}

}  // namespace

extern const FdRoom kRoom = {.name = "unix_socket",
                             .kind = schema::OpenFile::kUnixSocket,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .check = check,
                             .open = open,
                             .connect = connect};

}  // namespace ncr::unix_socket
