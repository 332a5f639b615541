// Internet sockets without a connection to keep (engine and child): UDP, bound and connected; raw
// and ICMP sockets; TCP listeners; TCP sockets that are not connected. The kernel keeps addresses
// and options in struct inet_sock and hands nearly all of them out by getsockopt(2). Not seen, and
// not kept: datagrams that wait to be read (UDP may lose any), connections in the middle of their
// handshake (the client tries again), BPF programs of a SO_REUSEPORT group, TCP-MD5 keys. TCP
// connections are the room tcp_socket's; those that wait to be accepted are blockers by name, or
// dropped. A TCP port is bound with SO_REUSEADDR, so that connections of the past do not keep it;
// the option's own value comes after.
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/resources/file_restorer.h"
#include "engine/resources/file_table.h"
#include "engine/resources/inet_socket/inet_address.h"
#include "engine/resources/inet_socket/inet_look.h"
#include "engine/resources/inet_socket/inet_multicast.h"
#include "engine/resources/room.h"
#include "engine/resources/socket_options.h"
#include "engine/resources/status_flags.h"
#include "engine/resources/tcp_socket/connections.h"

namespace ncr::inet_socket {
namespace {

bool is_udp(int protocol) { return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE; }
bool is_ping(int protocol) { return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6; }

std::string name_of(int protocol) {
  constexpr int kMptcp = 262;  // IPPROTO_MPTCP
  if (protocol == kMptcp) return "multipath TCP socket";
  return strf("internet socket of protocol %d", protocol);
}

bool is_known(int type, int protocol) {
  if (type == SOCK_STREAM) return protocol == IPPROTO_TCP;
  if (type == SOCK_RAW) return true;
  return type == SOCK_DGRAM && (is_udp(protocol) || is_ping(protocol));
}

// A datagram in the making is a page list of the kernel's own.
bool holds_back_a_datagram(const Fd& socket) {
  constexpr int kCork = 1;  // UDP_CORK
  Result<int> corked = get_int_option(socket, IPPROTO_UDP, kCork, "UDP_CORK");
  int bytes = 0;
  return corked.ok() && corked.value() != 0 && ::ioctl(socket.get(), SIOCOUTQ, &bytes) == 0 &&
         bytes > 0;
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  TRY(preflight_filter(probe, blockers));
  int protocol = TRY(get_int_option(probe.local, SOL_SOCKET, SO_PROTOCOL, "SO_PROTOCOL"));
  int type = TRY(get_int_option(probe.local, SOL_SOCKET, SO_TYPE, "SO_TYPE"));
  if (!is_known(type, protocol))
    blockers.add(*probe.task, strf("fd %d: %s", raw(probe.number), name_of(protocol).c_str()),
                 "only TCP, UDP, ICMP and raw sockets are known today", "close it before the dump");
  if (is_udp(protocol) && holds_back_a_datagram(probe.local))
    blockers.add(*probe.task, strf("fd %d: UDP socket", raw(probe.number)),
                 "it holds back a datagram that is not complete (UDP_CORK)",
                 "let the program send it and dump again");
  return {};
}

// A raw socket's "port" is its protocol.
bool is_bound(const schema::InetSocket& socket, const std::string& local) {
  if (socket.type() != SOCK_RAW) return port_of(local) != 0;
  return !is_any_address(local);
}

bool may_bind_anything(const Fd& socket, const schema::InetSocket& record) {
  if (record.family() != AF_INET && record.family() != AF_INET6) return true;
  Result<int> free = get_int_option(socket, IPPROTO_IP, IP_FREEBIND, "IP_FREEBIND");
  Result<int> transparent = get_int_option(socket, IPPROTO_IP, IP_TRANSPARENT, "IP_TRANSPARENT");
  return (free.ok() && free.value() != 0) || (transparent.ok() && transparent.value() != 0);
}

Result<> dump(FileTable& files, const FdProbe& probe, schema::OpenFile* record) {
  schema::InetSocket* out = record->mutable_inet_socket();
  TRY(read_socket(probe, out));
  std::string local = TRY(local_address(probe.local));
  if (is_bound(*out, local)) out->set_local(local);
  if (!out->local().empty() && !may_bind_anything(probe.local, *out) &&
      !is_address_here(probe.local, local))
    note_foreign_address(out);
  if (out->type() == SOCK_STREAM) {
    TcpLook look = TRY(look_at_tcp(probe.local));
    out->set_listening(look.state == kListen);
    out->set_backlog(look.backlog);
    out->set_waiting(look.waiting);
    Connections* connections = files.connections();
    if (connections == nullptr || !out->listening()) return {};
    return connections->add_listener(probe.local, *out);
  }
  if (!is_known(static_cast<int>(out->type()), static_cast<int>(out->protocol())))
    return Error::unsupported(strf("an internet socket of protocol %u", out->protocol()));
  out->set_peer(TRY(peer_address(probe.local)));
  if (is_udp(static_cast<int>(out->protocol())) && !out->local().empty())
    out->set_shutdown(TRY(shutdown_of_udp(probe.local, *out)));
  Fd ourselves;
  if (probe.task == nullptr) ourselves = TRY(sys::open("/proc/self", O_PATH | O_DIRECTORY));
  return read_groups(probe.task == nullptr ? ourselves : probe.task->proc, probe.local, out);
}

Result<> check(const std::vector<SeenFile>& all, const DumpRequest& request, Blockers& blockers) {
  if (request.tcp_skip_in_flight) return {};
  for (const SeenFile& file : all) {
    const schema::InetSocket& socket = file.record->inet_socket();
    if (socket.waiting() == 0 || file.holder == nullptr) continue;
    blockers.add(
        *file.holder,
        strf("fd %d: TCP listener at %s", raw(file.number), address_text(socket.local()).c_str()),
        strf("%u connections wait to be accepted", socket.waiting()),
        "let the program accept them and dump again, or drop them (--tcp-skip-in-flight)");
  }
  return {};
}

// Only a connected socket may be shut down; one that is not gets the error and is shut down all the
// same.
Result<> shut_down(const Fd& fd, const schema::InetSocket& socket) {
  if (socket.shutdown() == 0 || socket.shutdown() > 3) return {};
  Result<int> shut =
      SYSCALL(::shutdown(fd.get(), static_cast<int>(socket.shutdown()) - 1), "shutdown");
  if (!shut.ok() && shut.error().os_error() != ENOTCONN) return shut.take_error();
  return {};
}

int reuses_port(const schema::InetSocket& socket) {
  int value = 0;
  for (const schema::SocketOption& option : socket.options())
    if (option.level() == SOL_SOCKET && option.name() == SO_REUSEPORT &&
        option.value().size() == sizeof value)
      memcpy(&value, option.value().data(), sizeof value);
  return value;
}

// Two sockets of the tree came to one port by SO_REUSEPORT, and this one has given it up since.
bool has_reused_port(const Image& image, const schema::InetSocket& socket) {
  if (socket.local().empty() || reuses_port(socket) != 0) return false;
  return std::any_of(image.files.begin(), image.files.end(), [&](const auto& entry) {
    const schema::InetSocket& other = entry.second.inet_socket();
    return other.inode() != socket.inode() && other.protocol() == socket.protocol() &&
           !other.local().empty() && port_of(other.local()) == port_of(socket.local()) &&
           reuses_port(other) != 0;
  });
}

// listen(2) asks for the port once more (inet_csk_listen_start, net/ipv4/inet_connection_sock.c,
// 5.15), and connections that were made before it may have it by now.
Result<> listen_at(const Fd& fd, const schema::InetSocket& socket) {
  const int reuse = TRY(get_int_option(fd, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"));
  TRY(set_int_option(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"));
  TRY(SYSCALL(::listen(fd.get(), static_cast<int>(socket.backlog())), "listen at %s",
              address_text(socket.local()).c_str()));
  return set_int_option(fd, SOL_SOCKET, SO_REUSEADDR, reuse, "SO_REUSEADDR");
}

Result<Fd> open(FileRestorer& files, const schema::OpenFile& record) {
  const schema::InetSocket& socket = record.inet_socket();
  Fd fd = TRY(make_socket(socket));
  if (has_reused_port(files.image(), socket))
    TRY(set_int_option(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT"));
  TRY(bind_to(fd, socket));
  TRY(join_groups(fd, socket));
  if (!socket.peer().empty())
    TRY(SYSCALL(::connect(fd.get(), reinterpret_cast<const sockaddr*>(socket.peer().data()),
                          static_cast<socklen_t>(socket.peer().size())),
                "connect to %s", address_text(socket.peer()).c_str()));
  TRY(shut_down(fd, socket));
  if (socket.listening()) TRY(listen_at(fd, socket));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

// When all sockets of this task are bound and listen.
Result<> connect(FileRestorer&, const schema::OpenFile& record, const Fd& fd) {
  const schema::InetSocket& socket = record.inet_socket();
  return set_int_option(fd, SOL_SOCKET, SO_REUSEPORT, reuses_port(socket), "SO_REUSEPORT");
}

}  // namespace

extern const FdRoom kRoom = {.name = "inet_socket",
                             .kind = schema::OpenFile::kInetSocket,
                             .recognises = is_internet,
                             .preflight = preflight,
                             .dump = dump,
                             .check = check,
                             .open = open,
                             .connect = connect};

}  // namespace ncr::inet_socket
