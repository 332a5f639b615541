// Internet sockets without a connection to keep (engine and child): UDP, bound and connected; TCP
// listeners; TCP sockets that are not connected. The kernel keeps addresses and options in struct
// inet_sock and hands nearly all of them out by getsockopt(2). Not seen, and not kept: datagrams
// that wait to be read (UDP may lose any), connections in the middle of their handshake (the client
// tries again), BPF programs of a SO_REUSEPORT group, TCP-MD5 keys. Established TCP connections and
// those that wait to be accepted are blockers by name. A TCP port is bound with SO_REUSEADDR, so
// that connections of the past do not keep it; the option's own value comes after.
#include <fcntl.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/resources/file_restorer.h"
#include "engine/resources/inet_socket/inet_address.h"
#include "engine/resources/inet_socket/inet_multicast.h"
#include "engine/resources/inet_socket/inet_options.h"
#include "engine/resources/room.h"
#include "engine/resources/socket_options.h"
#include "engine/resources/status_flags.h"

namespace ncr::inet_socket {
namespace {

// enum of the kernel's include/net/tcp_states.h
enum TcpState : uint8_t { kEstablished = 1, kClose = 7, kListen = 10, kLastState = 12 };
constexpr const char* kStateNames[] = {
    "?",          "ESTABLISHED", "SYN-SENT",        "SYN-RECEIVED", "FIN-WAIT-1",
    "FIN-WAIT-2", "TIME-WAIT",   "CLOSED",          "CLOSE-WAIT",   "LAST-ACK",
    "LISTEN",     "CLOSING",     "NEW-SYN-RECEIVED"};

bool recognises(const FdProbe& probe) {
  if (!S_ISSOCK(probe.stat.st_mode) || !probe.link.starts_with("socket:")) return false;
  Result<int> domain = get_int_option(probe.local, SOL_SOCKET, SO_DOMAIN, "SO_DOMAIN");
  return domain.ok() && (domain.value() == AF_INET || domain.value() == AF_INET6);
}

using NameCall = int (*)(int, sockaddr*, socklen_t*);

// Empty: no port, or not connected.
Result<std::string> read_address(const Fd& socket, NameCall call) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  Result<int> got = SYSCALL(call(socket.get(), reinterpret_cast<sockaddr*>(&address), &size),
                            "address of a socket");
  if (!got.ok() && got.error().os_error() == ENOTCONN) return std::string();
  if (!got.ok()) return got.take_error();
  std::string bytes(reinterpret_cast<const char*>(&address),
                    std::min<size_t>(size, sizeof address));
  return bytes;
}

struct TcpLook {
  uint8_t state = kClose;
  uint32_t waiting = 0;  // to be accepted
  uint32_t backlog = 0;
};

Result<TcpLook> look_at_tcp(const Fd& socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  TRY(SYSCALL(::getsockopt(socket.get(), IPPROTO_TCP, TCP_INFO, &info, &size),
              "getsockopt TCP_INFO"));
  TcpLook look{info.tcpi_state, 0, 0};
  if (look.state == kListen) {
    look.waiting = info.tcpi_unacked;
    look.backlog = info.tcpi_sacked;
  }
  return look;
}

bool is_udp(int protocol) { return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE; }

Result<> preflight_tcp(const FdProbe& probe, Blockers& blockers) {
  TcpLook look = TRY(look_at_tcp(probe.local));
  std::string local = address_text(TRY(read_address(probe.local, ::getsockname)));
  int fd = raw(probe.number);
  if (look.state == kListen && look.waiting != 0)
    blockers.add(*probe.task, strf("fd %d: TCP listener at %s", fd, local.c_str()),
                 strf("%u connections wait to be accepted", look.waiting),
                 "let the program accept them, and dump again");
  if (look.state == kListen || look.state == kClose) return {};
  std::string peer = address_text(TRY(read_address(probe.local, ::getpeername)));
  const char* state = look.state <= kLastState ? kStateNames[look.state] : "?";
  blockers.add(*probe.task,
               strf("fd %d: TCP connection %s -> %s (%s)", fd, local.c_str(), peer.c_str(), state),
               "TCP connections come next", "close the connection before the dump");
  return {};
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  SocketOptions filter;
  Result<> readable = read_socket_filter(probe.local, &filter);
  if (!readable.ok())
    blockers.add(*probe.task, probe.where(), readable.error().text(),
                 "detach the filter (SO_DETACH_FILTER) before the dump");
  int protocol = TRY(get_int_option(probe.local, SOL_SOCKET, SO_PROTOCOL, "SO_PROTOCOL"));
  int type = TRY(get_int_option(probe.local, SOL_SOCKET, SO_TYPE, "SO_TYPE"));
  if (type == SOCK_STREAM && protocol == IPPROTO_TCP) return preflight_tcp(probe, blockers);
  if (type == SOCK_DGRAM && is_udp(protocol)) return {};
  blockers.add(*probe.task,
               strf("fd %d: %s socket of protocol %d", raw(probe.number),
                    type == SOCK_RAW ? "raw" : "internet", protocol),
               "only TCP and UDP are known today", "close it before the dump");
  return {};
}

Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  schema::InetSocket* out = record->mutable_inet_socket();
  out->set_inode(probe.stat.st_ino);
  out->set_family(
      static_cast<uint32_t>(TRY(get_int_option(probe.local, SOL_SOCKET, SO_DOMAIN, "SO_DOMAIN"))));
  out->set_type(
      static_cast<uint32_t>(TRY(get_int_option(probe.local, SOL_SOCKET, SO_TYPE, "SO_TYPE"))));
  out->set_protocol(static_cast<uint32_t>(
      TRY(get_int_option(probe.local, SOL_SOCKET, SO_PROTOCOL, "SO_PROTOCOL"))));
  std::string local = TRY(read_address(probe.local, ::getsockname));
  if (port_of(local) != 0) out->set_local(local);
  if (out->protocol() == IPPROTO_TCP) {
    TcpLook look = TRY(look_at_tcp(probe.local));
    if (look.state != kListen && look.state != kClose)
      return Error::unsupported("a TCP connection to " +
                                address_text(TRY(read_address(probe.local, ::getpeername))));
    out->set_listening(look.state == kListen);
    out->set_backlog(look.backlog);
  } else if (is_udp(static_cast<int>(out->protocol()))) {
    out->set_peer(TRY(read_address(probe.local, ::getpeername)));
    Fd ourselves;
    if (probe.task == nullptr) ourselves = TRY(sys::open("/proc/self", O_PATH | O_DIRECTORY));
    TRY(read_groups(probe.task == nullptr ? ourselves : probe.task->proc, probe.local, out));
  } else {
    return Error::unsupported(strf("an internet socket of protocol %u", out->protocol()));
  }
  TRY(read_socket_options(probe.local, common_socket_options(), out->mutable_options()));
  TRY(read_inet_options(probe.local, out));
  return read_socket_filter(probe.local, out->mutable_options());
}

Result<> bind_to(const Fd& fd, const schema::InetSocket& socket) {
  if (socket.local().empty()) return {};
  int reuse = TRY(get_int_option(fd, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"));
  bool tcp = socket.protocol() == IPPROTO_TCP;
  if (tcp) TRY(set_int_option(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"));
  Result<int> bound =
      SYSCALL(::bind(fd.get(), reinterpret_cast<const sockaddr*>(socket.local().data()),
                     static_cast<socklen_t>(socket.local().size())),
              "bind to %s", address_text(socket.local()).c_str());
  if (!bound.ok() && bound.error().os_error() == EADDRINUSE)
    return Error::system(
        EADDRINUSE,
        strf("%s port %u is taken by another process; stop it first (bind to %s)",
             tcp ? "TCP" : "UDP", port_of(socket.local()), address_text(socket.local()).c_str()));
  if (!bound.ok()) return bound.take_error();
  if (tcp) TRY(set_int_option(fd, SOL_SOCKET, SO_REUSEADDR, reuse, "SO_REUSEADDR"));
  return {};
}

Result<Fd> open(FileRestorer&, const schema::OpenFile& record) {
  const schema::InetSocket& socket = record.inet_socket();
  Fd fd(TRY(SYSCALL(
      ::socket(static_cast<int>(socket.family()), static_cast<int>(socket.type()) | SOCK_CLOEXEC,
               static_cast<int>(socket.protocol())),
      "socket")));
  TRY(set_socket_options(fd, socket.options()));
  TRY(bind_to(fd, socket));
  TRY(join_groups(fd, socket));
  if (!socket.peer().empty())
    TRY(SYSCALL(::connect(fd.get(), reinterpret_cast<const sockaddr*>(socket.peer().data()),
                          static_cast<socklen_t>(socket.peer().size())),
                "connect to %s", address_text(socket.peer()).c_str()));
  if (socket.listening())
    TRY(SYSCALL(::listen(fd.get(), static_cast<int>(socket.backlog())), "listen at %s",
                address_text(socket.local()).c_str()));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace

extern const FdRoom kRoom = {.name = "inet_socket",
                             .kind = schema::OpenFile::kInetSocket,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .open = open};

}  // namespace ncr::inet_socket
