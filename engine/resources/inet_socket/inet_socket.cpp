// Internet sockets without a connection to keep (engine and child): UDP, bound and connected; TCP
// listeners; TCP sockets that are not connected. The kernel keeps addresses and options in struct
// inet_sock and hands nearly all of them out by getsockopt(2). Not seen, and not kept: datagrams
// that wait to be read (UDP may lose any), connections in the middle of their handshake (the client
// tries again), BPF programs of a SO_REUSEPORT group, TCP-MD5 keys. TCP connections are the room
// tcp_socket's; those that wait to be accepted are blockers by name, or dropped. A TCP port is
// bound with SO_REUSEADDR, so that connections of the past do not keep it; the option's own value
// comes after.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <vector>

#include "engine/resources/file_restorer.h"
#include "engine/resources/inet_socket/inet_address.h"
#include "engine/resources/inet_socket/inet_look.h"
#include "engine/resources/inet_socket/inet_multicast.h"
#include "engine/resources/room.h"
#include "engine/resources/socket_options.h"
#include "engine/resources/status_flags.h"

namespace ncr::inet_socket {
namespace {

bool is_udp(int protocol) { return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE; }

std::string name_of(int type, int protocol) {
  constexpr int kMptcp = 262;  // IPPROTO_MPTCP
  if (protocol == kMptcp) return "multipath TCP socket";
  return strf("%s socket of protocol %d", type == SOCK_RAW ? "raw" : "internet", protocol);
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  TRY(preflight_filter(probe, blockers));
  int protocol = TRY(get_int_option(probe.local, SOL_SOCKET, SO_PROTOCOL, "SO_PROTOCOL"));
  int type = TRY(get_int_option(probe.local, SOL_SOCKET, SO_TYPE, "SO_TYPE"));
  if (type == SOCK_STREAM && protocol == IPPROTO_TCP) return {};
  if (type == SOCK_DGRAM && is_udp(protocol)) return {};
  blockers.add(*probe.task, strf("fd %d: %s", raw(probe.number), name_of(type, protocol).c_str()),
               "only TCP and UDP are known today", "close it before the dump");
  return {};
}

Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  schema::InetSocket* out = record->mutable_inet_socket();
  TRY(read_socket(probe, out));
  std::string local = TRY(local_address(probe.local));
  if (port_of(local) != 0) out->set_local(local);
  if (out->protocol() == IPPROTO_TCP) {
    TcpLook look = TRY(look_at_tcp(probe.local));
    out->set_listening(look.state == kListen);
    out->set_backlog(look.backlog);
    out->set_waiting(look.waiting);
    return {};
  }
  if (!is_udp(static_cast<int>(out->protocol())))
    return Error::unsupported(strf("an internet socket of protocol %u", out->protocol()));
  out->set_peer(TRY(peer_address(probe.local)));
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

Result<Fd> open(FileRestorer&, const schema::OpenFile& record) {
  const schema::InetSocket& socket = record.inet_socket();
  Fd fd = TRY(make_socket(socket));
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
                             .recognises = is_internet,
                             .preflight = preflight,
                             .dump = dump,
                             .check = check,
                             .open = open};

}  // namespace ncr::inet_socket
