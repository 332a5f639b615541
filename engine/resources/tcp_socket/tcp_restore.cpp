// A connection is made in repair (child): connect(2) then leads to ESTABLISHED without a packet,
// and what is written goes into the queue chosen. Order: sequence numbers while closed, addresses,
// what was negotiated, queues, FINs, window. Three things have no call of their own. What waits to
// be sent for the first time is written while the peer's window is made out to be full. A FIN of
// the peer is sent to ourselves in its name. That our FIN was acknowledged is left for the peer to
// say again: FIN-WAIT-2 comes back as FIN-WAIT-1. One that has ended is made in the same way, and
// then reset by a segment in the peer's name.
#include "engine/resources/tcp_socket/tcp_restore.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "engine/resources/inet_socket/inet_address.h"
#include "engine/resources/inet_socket/inet_look.h"
#include "engine/resources/socket_options.h"
#include "engine/resources/tcp_socket/half_close.h"
#include "engine/resources/tcp_socket/repair.h"
#include "engine/resources/tcp_socket/roomy_buffer.h"
#include "engine/resources/tcp_socket/segment.h"

namespace ncr::tcp_socket {
namespace {

using inet_socket::address_text;
using inet_socket::look_at_tcp;

constexpr size_t kChunk = 32 << 10;  // of a receive queue: each is one allocation of the kernel
constexpr int kPatienceMs = 1000;
constexpr int kLittlePatienceMs = 50;  // where it can be done without
constexpr uint32_t kFirst = 1;  // sequence number of a connection that has ended: any will do

Result<> done(int failed, const char* what) {
  if (failed != 0) return Error::system(failed, what);
  return {};
}

const sockaddr* address_in(const std::string& bytes) {
  return reinterpret_cast<const sockaddr*>(bytes.data());
}

Result<> join_ends(const Fd& socket, const schema::InetSocket& record) {
  const std::string local = address_text(record.local());
  const std::string peer = address_text(record.peer());
  Result<int> bound = SYSCALL(::bind(socket.get(), address_in(record.local()),
                                     static_cast<socklen_t>(record.local().size())),
                              "bind to %s", local.c_str());
  if (!bound.ok() && bound.error().os_error() == EADDRNOTAVAIL)
    return bound.take_error().while_doing(
        strf("this machine does not have the address of %s: give it that address, or let the "
             "connection come back closed (--tcp-close)",
             local.c_str()));
  if (!bound.ok()) return bound.take_error();
  Result<int> joined = SYSCALL(::connect(socket.get(), address_in(record.peer()),
                                         static_cast<socklen_t>(record.peer().size())),
                               "connect to %s", peer.c_str());
  if (!joined.ok() && joined.error().os_error() == EADDRNOTAVAIL)
    return joined.take_error().while_doing(
        strf("a connection %s -> %s exists here already", local.c_str(), peer.c_str()));
  if (!joined.ok()) return joined.take_error();
  return {};
}

// The kernel works out the size of segments when the path's changes, or the room that IP's options
// take: setting none of those has it use what was negotiated, not the 536 of a connection in
// repair.
void refresh_segment_size(const Fd& socket, const schema::InetSocket& record) {
  (void)::setsockopt(socket.get(), IPPROTO_IP, IP_OPTIONS, nullptr, 0);
  if (record.family() == AF_INET6)
    (void)::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_DSTOPTS, nullptr, 0);
}

Result<> set_negotiated(const Fd& socket, const schema::TcpSocket& record) {
  tcp_repair_opt options[4];
  size_t count = 0;
  options[count++] = {TCPOPT_MAXSEG, record.mss()};
  if ((record.negotiated() & TCPI_OPT_WSCALE) != 0)
    options[count++] = {TCPOPT_WINDOW, record.send_scale() | record.receive_scale() << 16};
  if ((record.negotiated() & TCPI_OPT_SACK) != 0) options[count++] = {TCPOPT_SACK_PERMITTED, 0};
  if ((record.negotiated() & TCPI_OPT_TIMESTAMPS) != 0) options[count++] = {TCPOPT_TIMESTAMP, 0};
  TRY(SYSCALL(::setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR_OPTIONS, options,
                           static_cast<socklen_t>(count * sizeof options[0])),
              "setsockopt TCP_REPAIR_OPTIONS"));
  const uint32_t timestamp = record.timestamp();
  TRY(SYSCALL(::setsockopt(socket.get(), IPPROTO_TCP, TCP_TIMESTAMP, &timestamp, sizeof timestamp),
              "setsockopt TCP_TIMESTAMP"));
  return {};
}

Result<> write_all(const Fd& socket, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t put =
        TRY(SYSCALL(::send(socket.get(), data, std::min(size, kChunk), MSG_DONTWAIT | MSG_NOSIGNAL),
                    "fill a queue of %zu bytes", size));
    data += put;
    size -= static_cast<size_t>(put);
  }
  return {};
}

Result<> fill_receive_queue(const Fd& socket, const std::string& data) {
  if (data.empty()) return {};
  RoomyBuffer buffer = TRY(RoomyBuffer::widen(socket, SO_RCVBUF, data.size()));
  TRY(done(choose_queue(socket.get(), Queue::kReceive), "choose the receive queue"));
  TRY(write_all(socket, data.data(), data.size()));
  return buffer.put_back(socket);
}

Result<tcp_repair_window> window_of(const schema::TcpSocket& record) {
  tcp_repair_window window{};
  if (record.window().size() != sizeof window) return Error::malformed("its window");
  memcpy(&window, record.window().data(), sizeof window);
  return window;
}

Result<> set_window(const Fd& socket, const tcp_repair_window& window) {
  TRY(SYSCALL(::setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, sizeof window),
              "setsockopt TCP_REPAIR_WINDOW"));
  return {};
}

Result<> queue_fin(const Fd& socket) {
  TRY(SYSCALL(::shutdown(socket.get(), SHUT_WR), "shutdown"));
  return {};
}

// Out of repair for a moment, but the window lets nothing out. A FIN comes behind it all.
Result<> queue_unsent(const Fd& socket, const schema::TcpSocket& record, const char* data,
                      size_t size) {
  tcp_repair_window window = TRY(window_of(record));
  window.snd_wnd = static_cast<uint32_t>(record.send().data().size() - size);
  window.max_window = std::max(window.max_window, window.snd_wnd);
  // What it counts may include a FIN that comes later.
  const auto next =
      record.receive().sequence() + static_cast<uint32_t>(record.receive().data().size());
  if (static_cast<int32_t>(window.rcv_wup - next) > 0) window.rcv_wup = next;
  TRY(set_window(socket, window));
  TRY(done(choose_queue(socket.get(), Queue::kNone), "choose no queue"));
  TRY(done(leave_repair(socket.get(), Leave::kQuietly, 1), "leave repair"));
  Result<> queued = write_all(socket, data, size);
  if (queued.ok() && half_close_of(record.state()).sent_fin) queued = queue_fin(socket);
  TRY(done(enter_repair(socket.get()), "enter repair"));
  return queued;
}

Result<> fill_send_queue(const Fd& socket, const schema::TcpSocket& record) {
  const std::string& data = record.send().data();
  const size_t unsent = record.unsent();
  if (unsent > data.size()) return Error::malformed("more bytes unsent than there are");
  RoomyBuffer buffer = TRY(RoomyBuffer::widen(socket, SO_SNDBUF, data.size()));
  TRY(done(choose_queue(socket.get(), Queue::kSend), "choose the send queue"));
  TRY(write_all(socket, data.data(), data.size() - unsent));
  if (unsent != 0)
    TRY(queue_unsent(socket, record, data.data() + data.size() - unsent, unsent));
  else if (half_close_of(record.state()).sent_fin)
    TRY(queue_fin(socket));
  return buffer.put_back(socket);
}

Result<> wait_for_state(const Fd& socket, uint32_t wanted, int patience_ms) {
  constexpr int kNap = 500;  // microseconds
  for (int naps = 0; naps < patience_ms * 1000 / kNap; naps++) {
    inet_socket::TcpLook look = TRY(look_at_tcp(socket));
    if (look.state == wanted) return {};
    ::usleep(kNap);
  }
  return Error(
      ErrorCode::kSystem,
      strf("the last word of its peer did not arrive (state %s); does a firewall drop packets on "
           "the loopback?",
           inet_socket::state_name(TRY(look_at_tcp(socket)).state)));
}

Result<> receive_fin(const Fd& socket, const schema::TcpSocket& record, bool fin_was_sent) {
  const auto next =
      record.receive().sequence() + static_cast<uint32_t>(record.receive().data().size());
  TRY(inject({.from = record.socket().peer(),
              .to = record.socket().local(),
              .sequence = next,
              .acknowledged = record.send().sequence(),
              .window = 0,
              .fin = true}));
  return wait_for_state(socket, fin_was_sent ? inet_socket::kClosing : inet_socket::kCloseWait,
                        kPatienceMs);
}

// A FIN of the peer comes first if it is what the window of the record counts with.
Result<> fill_and_close(const Fd& socket, const schema::TcpSocket& record) {
  const HalfClose half = half_close_of(record.state());
  if (half.received_fin && !half.sent_first) TRY(receive_fin(socket, record, false));
  TRY(fill_send_queue(socket, record));
  if (half.received_fin && half.sent_first) TRY(receive_fin(socket, record, true));
  return {};
}

// Resetting leaves names and received bytes alone (tcp_done).
Result<> receive_reset(const Fd& socket, const schema::TcpSocket& record) {
  TRY(inject({.from = record.socket().peer(),
              .to = record.socket().local(),
              .sequence = kFirst + static_cast<uint32_t>(record.receive().data().size()),
              .acknowledged = kFirst,
              .window = 0,
              .reset = true}));
  return wait_for_state(socket, inet_socket::kClose, kLittlePatienceMs);
}

}  // namespace

int reuse_address_of(const schema::TcpSocket& record) {
  for (const schema::SocketOption& option : record.socket().options()) {
    int value = 0;
    if (option.level() != SOL_SOCKET || option.name() != SO_REUSEADDR) continue;
    memcpy(&value, option.value().data(), std::min(sizeof value, option.value().size()));
    return value;
  }
  return 0;
}

Result<> rebuild_ended(const Fd& socket, const schema::TcpSocket& record) {
  TRY(done(enter_repair(socket.get()), "TCP_REPAIR, which needs CAP_NET_ADMIN"));
  TRY(done(set_sequence(socket.get(), Queue::kSend, kFirst), "set a sequence number"));
  TRY(done(set_sequence(socket.get(), Queue::kReceive, kFirst), "set a sequence number"));
  TRY(join_ends(socket, record.socket()));
  TRY(fill_receive_queue(socket, record.receive().data()));
  TRY(receive_reset(socket, record));
  TRY(done(leave_repair(socket.get(), Leave::kQuietly, 1), "leave repair"));
  // That of our own reset. Fetched, it is gone.
  TRY(get_int_option(socket, SOL_SOCKET, SO_ERROR, "SO_ERROR"));
  return {};
}

Result<> rebuild(const Fd& socket, const schema::TcpSocket& record) {
  const tcp_repair_window window = TRY(window_of(record));
  TRY(done(enter_repair(socket.get()), "TCP_REPAIR, which needs CAP_NET_ADMIN"));
  TRY(done(set_sequence(socket.get(), Queue::kSend, record.send().sequence()),
           "set the sequence number of the send queue"));
  TRY(done(set_sequence(socket.get(), Queue::kReceive, record.receive().sequence()),
           "set the sequence number of the receive queue"));
  TRY(join_ends(socket, record.socket()));
  TRY(set_negotiated(socket, record));
  refresh_segment_size(socket, record.socket());
  TRY(fill_receive_queue(socket, record.receive().data()));
  TRY(fill_and_close(socket, record));
  TRY(set_window(socket, window));
  refresh_segment_size(socket, record.socket());
  if (record.reading_shut()) TRY(SYSCALL(::shutdown(socket.get(), SHUT_RD), "shutdown"));
  return done(choose_queue(socket.get(), Queue::kNone), "choose no queue");
}

}  // namespace ncr::tcp_socket
