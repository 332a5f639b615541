// See inet_look.h. The kernel keeps addresses and options in struct inet_sock and hands nearly all
// of them out by getsockopt(2).
#include "engine/resources/inet_socket/inet_look.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "engine/base/foreign_socket.h"
#include "engine/base/netlink.h"
#include "engine/resources/inet_socket/inet_address.h"
#include "engine/resources/inet_socket/inet_options.h"
#include "engine/resources/socket_options.h"

namespace ncr::inet_socket {
namespace {

constexpr int kIpv6FreeBind = 78;  // IPV6_FREEBIND

constexpr const char* kStateNames[] = {
    "?",          "ESTABLISHED", "SYN-SENT",        "SYN-RECEIVED", "FIN-WAIT-1",
    "FIN-WAIT-2", "TIME-WAIT",   "CLOSED",          "CLOSE-WAIT",   "LAST-ACK",
    "LISTEN",     "CLOSING",     "NEW-SYN-RECEIVED"};

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

}  // namespace

const char* state_name(uint32_t state) {
  return state < std::size(kStateNames) ? kStateNames[state] : "?";
}

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

bool is_internet(const FdProbe& probe) {
  if (!S_ISSOCK(probe.stat.st_mode) || !probe.link.starts_with("socket:")) return false;
  Result<int> domain = get_int_option(probe.local, SOL_SOCKET, SO_DOMAIN, "SO_DOMAIN");
  return domain.ok() && (domain.value() == AF_INET || domain.value() == AF_INET6);
}

bool is_tcp(const Fd& socket) {
  Result<int> type = get_int_option(socket, SOL_SOCKET, SO_TYPE, "SO_TYPE");
  Result<int> protocol = get_int_option(socket, SOL_SOCKET, SO_PROTOCOL, "SO_PROTOCOL");
  return type.ok() && type.value() == SOCK_STREAM && protocol.ok() &&
         protocol.value() == IPPROTO_TCP;
}

Result<std::string> local_address(const Fd& socket) { return read_address(socket, ::getsockname); }

Result<std::string> peer_address(const Fd& socket) { return read_address(socket, ::getpeername); }

// inet_getname leaves out its look at the state for SO_PEERNAME (net/ipv4/af_inet.c), which takes
// no more room than the name needs (net/core/sock.c).
Result<std::string> last_peer_address(const Fd& socket) {
  return read_address(socket, [](int fd, sockaddr* address, socklen_t* size) {
    if (::getsockname(fd, address, size) != 0) return -1;
    return ::getsockopt(fd, SOL_SOCKET, SO_PEERNAME, address, size);
  });
}

// Only NETLINK_SOCK_DIAG tells; a kernel without udp_diag has nothing to say, and a socket that it
// does not list is not bound.
Result<uint32_t> shutdown_of_udp(const Fd& socket, const schema::InetSocket& known) {
  inet_diag_req_v2 question{};
  question.sdiag_family = static_cast<__u8>(known.family());
  question.sdiag_protocol = static_cast<__u8>(known.protocol());
  question.idiag_states = ~0u;
  question.id.idiag_sport = htons(port_of(known.local()));
  netlink::Socket diag = TRY(netlink::Socket::open_beside(socket, NETLINK_SOCK_DIAG));
  netlink::Request request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
  request.header(question);
  Result<std::vector<netlink::Reply>> replies = diag.list(request, "UDP sockets");
  if (!replies.ok()) return 0u;
  for (const netlink::Reply& reply : replies.value()) {
    if (reply.header<inet_diag_msg>().idiag_inode != known.inode()) continue;
    const netlink::Attribute shut =
        netlink::Attributes::find(reply.attributes(sizeof(inet_diag_msg)), INET_DIAG_SHUTDOWN);
    return shut.value.empty() ? 0u : static_cast<uint8_t>(shut.value[0]);
  }
  return 0u;
}

Result<std::string> device_of(const Fd& socket) {
  char name[IF_NAMESIZE] = "";
  socklen_t size = sizeof name;
  TRY(SYSCALL(::getsockopt(socket.get(), SOL_SOCKET, SO_BINDTODEVICE, name, &size),
              "getsockopt SO_BINDTODEVICE"));
  return std::string(name, ::strnlen(name, size));
}

Result<> preflight_filter(const FdProbe& probe, Blockers& blockers) {
  SocketOptions filter;
  Result<> readable = read_socket_filter(probe.local, &filter);
  if (!readable.ok())
    blockers.add(*probe.task, probe.where(), readable.error().text(),
                 "detach the filter (SO_DETACH_FILTER) before the dump");
  return {};
}

Result<> read_socket(const FdProbe& probe, schema::InetSocket* out) {
  out->set_inode(probe.stat.st_ino);
  out->set_family(
      static_cast<uint32_t>(TRY(get_int_option(probe.local, SOL_SOCKET, SO_DOMAIN, "SO_DOMAIN"))));
  out->set_type(
      static_cast<uint32_t>(TRY(get_int_option(probe.local, SOL_SOCKET, SO_TYPE, "SO_TYPE"))));
  out->set_protocol(static_cast<uint32_t>(
      TRY(get_int_option(probe.local, SOL_SOCKET, SO_PROTOCOL, "SO_PROTOCOL"))));
  TRY(read_socket_options(probe.local, common_socket_options(), out->mutable_options()));
  TRY(read_inet_options(probe.local, out));
  return read_socket_filter(probe.local, out->mutable_options());
}

bool is_address_here(const Fd& socket, const std::string& local) {
  if (is_any_address(local)) return true;
  std::string address = local;
  const uint16_t any_port = 0;
  memcpy(address.data() + offsetof(sockaddr_in, sin_port), &any_port, sizeof any_port);
  const auto* name = reinterpret_cast<const sockaddr*>(address.data());
  Result<Fd> ours = socket_beside(socket, name->sa_family, SOCK_DGRAM);
  if (!ours.ok()) return true;
  Result<int> bound =
      SYSCALL(::bind(ours.value().get(), name, static_cast<socklen_t>(address.size())), "bind");
  return bound.ok() || bound.error().os_error() != EADDRNOTAVAIL;
}

// Who may have an ICMP socket is a range of groups; a task is whoever it was only later.
Result<int> socket_as_allowed(const schema::InetSocket& record) {
  auto make = [&record] {
    return SYSCALL(
        ::socket(static_cast<int>(record.family()), static_cast<int>(record.type()) | SOCK_CLOEXEC,
                 static_cast<int>(record.protocol())),
        "socket");
  };
  Result<int> made = make();
  if (made.ok() || made.error().os_error() != EACCES || record.type() != SOCK_DGRAM) return made;
  unsigned first = 0, last = 0;
  const std::string range = TRY(sys::read_file("/proc/sys/net/ipv4/ping_group_range"));
  if (std::sscanf(range.c_str(), "%u %u", &first, &last) != 2 || first > last)
    return made.take_error().while_doing("nobody may have ICMP sockets here (ping_group_range)");
  const gid_t own = ::getegid();
  TRY(SYSCALL(::syscall(SYS_setresgid, -1, first, -1), "setresgid"));
  made = make();
  TRY(SYSCALL(::syscall(SYS_setresgid, -1, own, -1), "setresgid"));
  return made;
}

Result<Fd> make_socket(const schema::InetSocket& record) {
  Fd fd(TRY(socket_as_allowed(record)));
  TRY(set_socket_options(fd, record.options()));
  return fd;
}

static bool is_free_bind(const schema::SocketOption& option) {
  return option.level() == IPPROTO_IP && option.name() == IP_FREEBIND;
}

void note_foreign_address(schema::InetSocket* socket) {
  for (const schema::SocketOption& option : socket->options())
    if (is_free_bind(option)) {
      *socket->add_options() = schema::SocketOption(option);
      return;
    }
}

static bool has_foreign_address(const schema::InetSocket& socket) {
  return std::count_if(socket.options().begin(), socket.options().end(), is_free_bind) > 1;
}

static Result<> set_free_bind(const Fd& fd, const schema::InetSocket& socket, int on) {
  const bool six = socket.family() == AF_INET6;
  return set_int_option(fd, six ? int{IPPROTO_IPV6} : int{IPPROTO_IP},
                        six ? kIpv6FreeBind : int{IP_FREEBIND}, on, "IP_FREEBIND");
}

Result<> bind_to(const Fd& fd, const schema::InetSocket& socket) {
  if (socket.local().empty()) return {};
  const bool foreign = has_foreign_address(socket);
  if (foreign) TRY(set_free_bind(fd, socket, 1));
  int reuse = TRY(get_int_option(fd, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"));
  bool tcp = socket.type() == SOCK_STREAM;
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
  if (foreign) TRY(set_free_bind(fd, socket, 0));
  if (tcp) TRY(set_int_option(fd, SOL_SOCKET, SO_REUSEADDR, reuse, "SO_REUSEADDR"));
  return {};
}

}  // namespace ncr::inet_socket
