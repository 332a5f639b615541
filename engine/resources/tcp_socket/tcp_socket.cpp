// A TCP connection, established or half closed: addresses, options, both queues, sequence numbers,
// window and what was negotiated (engine and child). The kernel keeps it in struct tcp_sock and
// shows that much by TCP_REPAIR and TCP_INFO. Not seen, and not kept: segments that came out of
// order (the peer still has them), what congestion control has learned, ECN, TCP-MD5 and TCP-AO
// keys, an error that nobody has fetched yet. Dumping only takes note; reading comes when no packet
// can reach the socket any more (connections.cpp). A restored one stays in repair until the whole
// tree is there (revival.cpp). One that has ended and still hangs at its descriptor is one that
// reads as ended.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "engine/resources/file_restorer.h"
#include "engine/resources/file_table.h"
#include "engine/resources/inet_socket/inet_address.h"
#include "engine/resources/inet_socket/inet_look.h"
#include "engine/resources/socket_options.h"
#include "engine/resources/status_flags.h"
#include "engine/resources/tcp_socket/connections.h"
#include "engine/resources/tcp_socket/ended.h"
#include "engine/resources/tcp_socket/half_close.h"
#include "engine/resources/tcp_socket/pending_peer.h"
#include "engine/resources/tcp_socket/tcp_restore.h"

namespace ncr::tcp_socket {
namespace {

using inet_socket::address_text;

// A socket that was never connected has nothing to read; one whose connection ended has its end.
bool has_ended(const Fd& socket) {
  pollfd look{socket.get(), POLLRDHUP, 0};
  Result<int> seen = SYSCALL(::poll(&look, 1, 0), "poll");
  return seen.ok() && (look.revents & POLLRDHUP) != 0;
}

bool recognises(const FdProbe& probe) {
  if (!inet_socket::is_internet(probe) || !inet_socket::is_tcp(probe.local)) return false;
  Result<inet_socket::TcpLook> look = inet_socket::look_at_tcp(probe.local);
  if (!look.ok() || look.value().state == inet_socket::kListen) return false;
  return look.value().state != inet_socket::kClose || has_ended(probe.local);
}

// Why this connection cannot be kept, empty if it can.
Result<std::string> obstacle(const FdProbe& probe, uint32_t state) {
  const Fd& socket = probe.local;
  char layer[16] = "";
  socklen_t size = sizeof layer - 1;
  Result<int> layered =
      SYSCALL(::getsockopt(socket.get(), IPPROTO_TCP, TCP_ULP, layer, &size), "getsockopt TCP_ULP");
  if (layered.ok() && layer[0] != '\0')
    return strf("the kernel runs %s on it, whose state cannot be read back", layer);
  char urgent = 0;
  if (SYSCALL(::recv(socket.get(), &urgent, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT), "peek").ok())
    return std::string("it has urgent data that was not read");
  Result<int> offset = get_int_option(socket, SOL_SOCKET, SO_PEEK_OFF, "SO_PEEK_OFF");
  if (offset.ok() && offset.value() >= 0) return std::string("it peeks with SO_PEEK_OFF");
  if (state == inet_socket::kSynReceived)
    return std::string("it is in the middle of its handshake");
  if (state == inet_socket::kSynSent && TRY(pending_peer(probe)).empty())
    return std::string("it is connecting, and nothing shows where to");
  if (half_close_of(state).received_fin && !TRY(inet_socket::device_of(socket)).empty())
    return std::string("its peer has closed its half, and it is bound to a device");
  return std::string();
}

std::string name_of(const schema::TcpSocket& record) {
  if (record.state() == inet_socket::kClose) return "TCP connection that has ended";
  return strf("TCP connection %s -> %s (%s)", address_text(record.socket().local()).c_str(),
              address_text(record.socket().peer()).c_str(),
              inet_socket::state_name(record.state()));
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  TRY(inet_socket::preflight_filter(probe, blockers));
  const inet_socket::TcpLook look = TRY(inet_socket::look_at_tcp(probe.local));
  const std::string reason = TRY(obstacle(probe, look.state));
  if (reason.empty()) return {};
  schema::TcpSocket record;
  record.set_state(look.state);
  record.mutable_socket()->set_local(TRY(inet_socket::local_address(probe.local)));
  record.mutable_socket()->set_peer(TRY(inet_socket::peer_address(probe.local)));
  blockers.add(*probe.task, strf("fd %d: %s", raw(probe.number), name_of(record).c_str()), reason,
               "close it before the dump");
  return {};
}

// What is a connection's own, not what somebody asked for: the largest segment, the window; and
// what the kernel keeps of its first packet where other sockets have multicast options.
bool is_derived(const schema::SocketOption& option) {
  constexpr std::pair<int, int> kDerived[] = {
      {IPPROTO_TCP, TCP_MAXSEG},           {IPPROTO_TCP, TCP_WINDOW_CLAMP},
      {IPPROTO_IP, IP_MULTICAST_TTL},      {IPPROTO_IP, IP_MULTICAST_IF},
      {IPPROTO_IPV6, IPV6_MULTICAST_HOPS}, {IPPROTO_IPV6, IPV6_MULTICAST_IF}};
  const std::pair<int, int> key{option.level(), option.name()};
  return std::find(std::begin(kDerived), std::end(kDerived), key) != std::end(kDerived);
}

void drop_derived_options(schema::InetSocket* socket) {
  auto* options = socket->mutable_options();
  options->erase(std::remove_if(options->begin(), options->end(), is_derived), options->end());
}

Result<> dump(FileTable& files, const FdProbe& probe, schema::OpenFile* record) {
  schema::TcpSocket* out = record->mutable_tcp_socket();
  TRY(inet_socket::read_socket(probe, out->mutable_socket()));
  drop_derived_options(out->mutable_socket());
  out->set_state(TRY(inet_socket::look_at_tcp(probe.local)).state);
  if (out->state() == inet_socket::kClose) return read_ended(probe.local, out);
  out->mutable_socket()->set_local(TRY(inet_socket::local_address(probe.local)));
  out->mutable_socket()->set_peer(out->state() == inet_socket::kSynSent
                                      ? TRY(pending_peer(probe))
                                      : TRY(inet_socket::peer_address(probe.local)));
  if (files.connections() == nullptr)
    return Error::unsupported(name_of(*out) + " is kept by a dump of a whole tree only");
  return files.connections()->add(probe.local, out);
}

Result<> check(const std::vector<SeenFile>& all, const DumpRequest& request, Blockers& blockers) {
  std::set<uint32_t> held;
  const Task* somebody = nullptr;
  for (const SeenFile& file : all) {
    if (file.holder == nullptr) continue;
    somebody = file.holder;
    const schema::TcpSocket& tcp = file.record->tcp_socket();
    const bool first = held.insert(file.record->id()).second;
    if (!first || !file.record->has_tcp_socket() || tcp.state() == inet_socket::kClose) continue;
    if (request.tcp == TcpPolicy::kRefuse)
      blockers.add(*file.holder, strf("fd %d: %s", raw(file.number), name_of(tcp).c_str()),
                   "connections are kept on demand only",
                   "keep them (--tcp-established), or let them come back closed (--tcp-close)");
  }
  for (const SeenFile& file : all)
    if (file.record->has_tcp_socket() && !held.contains(file.record->id()) && somebody != nullptr)
      blockers.add(*somebody, name_of(file.record->tcp_socket()),
                   "it is in flight in a unix socket, and no task has it",
                   "let the program receive it, and dump again");
  return {};
}

// With its names, if they can be had here; what else it was counts for more.
Result<Fd> open_ended(FileRestorer& files, const schema::TcpSocket& tcp) {
  if (tcp.state() == inet_socket::kClose && !tcp.socket().peer().empty()) {
    Fd named = TRY(inet_socket::make_socket(tcp.socket()));
    Result<> rebuilt = rebuild_ended(named, tcp);
    if (rebuilt.ok()) return named;
    files.request().callbacks.log.warning(
        "TCP connection %s -> %s, which has ended, comes back without these names: %s",
        address_text(tcp.socket().local()).c_str(), address_text(tcp.socket().peer()).c_str(),
        rebuilt.error().text().c_str());
  }
  Fd fd = TRY(inet_socket::make_socket(tcp.socket()));
  const bool never_connected = tcp.socket().peer().empty();
  if (never_connected && inet_socket::port_of(tcp.socket().local()) != 0)
    TRY(inet_socket::bind_to(fd, tcp.socket()));
  TRY_WHILE(make_ended(fd, tcp), "a connection that has ended");
  return fd;
}

Result<Fd> open_alive(const schema::TcpSocket& tcp) {
  Fd fd = TRY(inet_socket::make_socket(tcp.socket()));
  if (tcp.state() == inet_socket::kSynSent)
    TRY(inet_socket::bind_to(fd, tcp.socket()));  // it connects when the whole tree is there
  else
    TRY_WHILE(rebuild(fd, tcp), "%s", name_of(tcp).c_str());
  return fd;
}

Result<Fd> open(FileRestorer& files, const schema::OpenFile& record) {
  const schema::TcpSocket& tcp = record.tcp_socket();
  const bool ended = tcp.state() == inet_socket::kClose || files.request().tcp == TcpPolicy::kClose;
  Fd fd = ended ? TRY(open_ended(files, tcp)) : TRY(open_alive(tcp));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

// Until its listener has the port as well, whoever makes that.
Result<> connect_late(FileRestorer&, const schema::OpenFile& record, const Fd& fd) {
  const schema::TcpSocket& tcp = record.tcp_socket();
  if (tcp.state() != inet_socket::kClose) return {};
  return set_int_option(fd, SOL_SOCKET, SO_REUSEADDR, reuse_address_of(tcp), "SO_REUSEADDR");
}

}  // namespace

extern const FdRoom kRoom = {.name = "tcp_socket",
                             .kind = schema::OpenFile::kTcpSocket,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .check = check,
                             .open = open,
                             .connect_late = connect_late};

}  // namespace ncr::tcp_socket
