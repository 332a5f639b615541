// A netlink socket talks to a part of the kernel, or to other processes, and hears the groups it
// has joined (struct netlink_sock). Its number (port) is what others send to; getsockname(2) tells
// it, getpeername(2) the other end, NETLINK_LIST_MEMBERSHIPS the groups, and every option can be
// read. What waits to be read comes from the kernel and cannot be sent again by anybody else: such
// a socket is refused. Userspace cannot see a long answer (a dump) that the kernel has begun; it
// ends with what is in the queue. dump runs in the engine, open in the child.
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cstring>

#include "engine/resources/file_restorer.h"
#include "engine/resources/room.h"
#include "engine/resources/socket_options.h"
#include "engine/resources/status_flags.h"

namespace ncr::netlink_socket {
namespace {

constexpr SocketOptionName kOptions[] = {
    {SOL_NETLINK, NETLINK_PKTINFO, "NETLINK_PKTINFO"},
    {SOL_NETLINK, NETLINK_BROADCAST_ERROR, "NETLINK_BROADCAST_ERROR"},
    {SOL_NETLINK, NETLINK_NO_ENOBUFS, "NETLINK_NO_ENOBUFS"},
    {SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, "NETLINK_LISTEN_ALL_NSID"},
    {SOL_NETLINK, NETLINK_CAP_ACK, "NETLINK_CAP_ACK"},
    {SOL_NETLINK, NETLINK_EXT_ACK, "NETLINK_EXT_ACK"},
    {SOL_NETLINK, NETLINK_GET_STRICT_CHK, "NETLINK_GET_STRICT_CHK"},
};

bool recognises(const FdProbe& probe) {
  if (!S_ISSOCK(probe.stat.st_mode)) return false;
  Result<int> domain = get_int_option(probe.local, SOL_SOCKET, SO_DOMAIN, "SO_DOMAIN");
  return domain.ok() && domain.value() == AF_NETLINK;
}

bool has_something_to_read(const Fd& socket) {
  char byte = 0;
  return ::recv(socket.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC) >= 0;
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  const std::string what = strf("fd %d: netlink socket", raw(probe.number));
  SocketOptions filter;
  Result<> readable = read_socket_filter(probe.local, &filter);
  if (!readable.ok())
    blockers.add(*probe.task, what, readable.error().text(),
                 "detach the filter (SO_DETACH_FILTER) before the dump");
  if (has_something_to_read(probe.local))
    blockers.add(*probe.task, what, "messages of the kernel wait to be read",
                 "let the program read them and dump again");
  return {};
}

Result<sockaddr_nl> address(const Fd& socket, int (*call)(int, sockaddr*, socklen_t*)) {
  sockaddr_nl name{};
  socklen_t size = sizeof name;
  TRY(SYSCALL(call(socket.get(), reinterpret_cast<sockaddr*>(&name), &size),
              "name of a netlink socket"));
  return name;
}

Result<> read_groups(const Fd& socket, schema::NetlinkSocket* out) {
  uint32_t words[64] = {};
  socklen_t size = sizeof words;
  Result<int> got =
      SYSCALL(::getsockopt(socket.get(), SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, words, &size),
              "getsockopt NETLINK_LIST_MEMBERSHIPS");
  TRY(std::move(got));
  if (size > sizeof words) return Error::unsupported("it is in more than 2048 groups");
  for (uint32_t number = 1; number <= size * 8; number++)
    if ((words[(number - 1) / 32] >> ((number - 1) % 32) & 1) != 0) out->add_groups(number);
  return {};
}

Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  schema::NetlinkSocket* out = record->mutable_netlink_socket();
  out->set_inode(probe.stat.st_ino);
  out->set_type(
      static_cast<uint32_t>(TRY(get_int_option(probe.local, SOL_SOCKET, SO_TYPE, "SO_TYPE"))));
  out->set_protocol(static_cast<uint32_t>(
      TRY(get_int_option(probe.local, SOL_SOCKET, SO_PROTOCOL, "SO_PROTOCOL"))));
  const sockaddr_nl local = TRY(address(probe.local, ::getsockname));
  const sockaddr_nl peer = TRY(address(probe.local, ::getpeername));
  out->set_port(local.nl_pid);
  out->set_peer_port(peer.nl_pid);
  out->set_peer_groups(peer.nl_groups);
  TRY(read_groups(probe.local, out));
  TRY(read_socket_options(probe.local, common_socket_options(), out->mutable_options()));
  TRY(read_socket_options(probe.local, kOptions, out->mutable_options()));
  return read_socket_filter(probe.local, out->mutable_options());
}

Result<> bind_to(const Fd& fd, const schema::NetlinkSocket& socket) {
  if (socket.port() == 0) return {};
  sockaddr_nl name{};
  name.nl_family = AF_NETLINK;
  name.nl_pid = socket.port();
  Result<int> bound =
      SYSCALL(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name),
              "bind a netlink socket of protocol %u to %u", socket.protocol(), socket.port());
  if (!bound.ok() && bound.error().os_error() == EADDRINUSE)
    return bound.take_error().while_doing("another process uses its number; stop it first");
  TRY(std::move(bound));
  return {};
}

Result<> connect_to(const Fd& fd, const schema::NetlinkSocket& socket) {
  if (socket.peer_port() == 0 && socket.peer_groups() == 0) return {};
  sockaddr_nl name{};
  name.nl_family = AF_NETLINK;
  name.nl_pid = socket.peer_port();
  name.nl_groups = socket.peer_groups();
  TRY(SYSCALL(::connect(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name),
              "connect a netlink socket to %u", socket.peer_port()));
  return {};
}

Result<Fd> open(FileRestorer&, const schema::OpenFile& record) {
  const schema::NetlinkSocket& socket = record.netlink_socket();
  Fd fd(TRY(SYSCALL(::socket(AF_NETLINK, static_cast<int>(socket.type()) | SOCK_CLOEXEC,
                             static_cast<int>(socket.protocol())),
                    "netlink socket of protocol %u", socket.protocol())));
  TRY(bind_to(fd, socket));
  TRY(connect_to(fd, socket));
  for (uint32_t group : socket.groups())
    TRY(set_int_option(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, static_cast<int>(group),
                       "NETLINK_ADD_MEMBERSHIP"));
  TRY(set_socket_options(fd, socket.options()));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace

extern const FdRoom kRoom = {.name = "netlink_socket",
                             .kind = schema::OpenFile::kNetlinkSocket,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .open = open};

}  // namespace ncr::netlink_socket
