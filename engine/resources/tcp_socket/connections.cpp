// See connections.h. Reading a connection puts its socket into repair for some microseconds, in
// which its owner would get errors from it; so that its owner never does, a process aside does the
// reading, which goes on if we are killed: it answers to no signal, belongs to no group of ours
// and, where that is allowed, gives no CPU away (docs/adr/0012). Runs in the engine.
#include "engine/resources/tcp_socket/connections.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "engine/base/call_code.h"
#include "engine/resources/aside.h"
#include "engine/resources/inet_socket/inet_address.h"
#include "engine/resources/inet_socket/inet_look.h"
#include "engine/resources/socket_options.h"
#include "engine/resources/tcp_socket/ended.h"
#include "engine/resources/tcp_socket/half_close.h"
#include "engine/resources/tcp_socket/listeners.h"
#include "engine/resources/tcp_socket/repair.h"

namespace ncr {
namespace {

using inet_socket::address_text;
using namespace tcp_socket;  // NOLINT: the room that this table belongs to

constexpr int kTries = 20;
constexpr size_t kSlack = 128 << 10;  // a segment that is half acknowledged is shown whole

// What a process aside finds out about one socket; memory for it is there before.
struct Reading {
  int socket = -1;
  int reuse_address = 0;
  uint32_t send_end = 0;  // sequence numbers after the queues, FINs counted
  uint32_t receive_end = 0;
  int unread = 0;          // bytes in the receive queue
  int unacknowledged = 0;  // in the send queue, a FIN counted
  int unsent = 0;          // of those, never sent
  int mss = 0;
  tcp_info info = {};
  char window[sizeof(tcp_repair_window)] = {};
  char* sent = nullptr;
  size_t capacity = 0;
  ssize_t size = 0;  // of what is at `sent`
};

int get_int(int socket, int name, int* value) {
  socklen_t size = sizeof *value;
  return sys::code_of(::getsockopt(socket, IPPROTO_TCP, name, value, &size));
}

int look(Reading& of) {
  socklen_t size = sizeof of.info;
  int failed = sys::code_of(::getsockopt(of.socket, IPPROTO_TCP, TCP_INFO, &of.info, &size));
  if (failed == 0) failed = sys::code_of(::ioctl(of.socket, SIOCINQ, &of.unread));
  if (failed == 0) failed = sys::code_of(::ioctl(of.socket, SIOCOUTQ, &of.unacknowledged));
  if (failed == 0) failed = sys::code_of(::ioctl(of.socket, SIOCOUTQNSD, &of.unsent));
  return failed;
}

bool same(const Reading& one, const Reading& other) {
  return one.info.tcpi_state == other.info.tcpi_state && one.unread == other.unread &&
         one.unacknowledged == other.unacknowledged && one.unsent == other.unsent;
}

int peek_send_queue(Reading& of) {
  of.size = 0;
  if (of.unacknowledged == 0) return 0;
  of.size = ::recv(of.socket, of.sent, of.capacity, MSG_PEEK | MSG_DONTWAIT);
  return sys::code_of(of.size);
}

int read_in_repair(Reading& of) {
  socklen_t window = sizeof of.window;
  int failed = look(of);
  if (failed == 0) failed = choose_queue(of.socket, Queue::kReceive);
  if (failed == 0) failed = get_sequence(of.socket, &of.receive_end);
  if (failed == 0) failed = choose_queue(of.socket, Queue::kSend);
  if (failed == 0) failed = get_sequence(of.socket, &of.send_end);
  if (failed == 0) failed = get_int(of.socket, TCP_MAXSEG, &of.mss);
  if (failed == 0)
    failed =
        sys::code_of(::getsockopt(of.socket, IPPROTO_TCP, TCP_REPAIR_WINDOW, of.window, &window));
  return failed == 0 ? peek_send_queue(of) : failed;
}

// A packet that had passed the lock already may change something between two calls: then again.
int read_whole(Reading& of) {
  for (int tries = 0; tries < kTries; tries++) {
    int failed = enter_repair(of.socket);
    if (failed != 0) return failed;
    failed = read_in_repair(of);
    Reading again = of;
    if (failed == 0) failed = look(again);
    const int left = leave_repair(of.socket, Leave::kQuietly, of.reuse_address);
    if (failed != 0 || left != 0) return failed != 0 ? failed : left;
    if (same(of, again)) return 0;
  }
  return EBUSY;
}

// The process that must not stop half way.
void be_undisturbed() {
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::setsid();
  sched_param parameter{};
  parameter.sched_priority = 1;
  // Raw: libc's would tell its own notion of a thread.
  ::syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &parameter);
}

std::string name_of(const schema::TcpSocket& record) {
  return strf("TCP connection %s -> %s", address_text(record.socket().local()).c_str(),
              address_text(record.socket().peer()).c_str());
}

}  // namespace

struct Connections::Held {
  Fd socket;
  schema::TcpSocket* record = nullptr;
  int reuse_address = 0;
  std::vector<char> sent;

  bool readable() const {
    return record->state() != inet_socket::kSynSent && record->state() != inet_socket::kClose;
  }

  Result<Reading> prepare() {
    int waiting = 0;
    TRY(SYSCALL(::ioctl(socket.get(), SIOCOUTQ, &waiting), "ioctl SIOCOUTQ"));
    // Written to, so that no page is missing when time is short.
    sent.assign(static_cast<size_t>(waiting) + (waiting == 0 ? 0 : kSlack), '\1');
    Reading reading;
    reading.socket = socket.get();
    reading.reuse_address = reuse_address;
    reading.sent = sent.data();
    reading.capacity = sent.size();
    return reading;
  }

  Result<> record_options(const Reading& reading) {
    const tcp_info& info = reading.info;
    record->set_state(info.tcpi_state);
    record->set_negotiated(info.tcpi_options);
    record->set_send_scale(info.tcpi_snd_wscale);
    record->set_receive_scale(info.tcpi_rcv_wscale);
    record->set_mss(static_cast<uint32_t>(reading.mss));
    record->set_window(reading.window, sizeof reading.window);
    pollfd end{socket.get(), POLLRDHUP, 0};
    TRY(SYSCALL(::poll(&end, 1, 0), "poll"));
    record->set_reading_shut(!half_close_of(info.tcpi_state).received_fin &&
                             (end.revents & POLLRDHUP) != 0);
    record->set_timestamp(static_cast<uint32_t>(
        TRY(get_int_option(socket, IPPROTO_TCP, TCP_TIMESTAMP, "TCP_TIMESTAMP"))));
    return {};
  }

  Result<> take(const Reading& reading) {
    TRY(record_options(reading));
    const HalfClose half = half_close_of(record->state());
    const auto unread = static_cast<uint32_t>(reading.unread);
    schema::TcpQueue* in = record->mutable_receive();
    in->set_sequence(reading.receive_end - (half.received_fin ? 1 : 0) - unread);
    in->set_data(TRY(peek_received(socket, unread)));

    const uint32_t data_end = reading.send_end - (half.sent_fin ? 1 : 0);
    // A FIN that waits for its acknowledgement is counted, and is the last.
    const bool fin_waits = half.sent_fin && reading.unacknowledged > 0;
    const auto bytes = static_cast<uint32_t>(reading.unacknowledged - (fin_waits ? 1 : 0));
    if (static_cast<size_t>(reading.size) < bytes)
      return Error::unsupported(
          strf("%u bytes are in its send queue, but only %zd can be seen", bytes, reading.size));
    schema::TcpQueue* out = record->mutable_send();
    out->set_sequence(data_end - bytes);
    out->set_data(reading.sent + (static_cast<size_t>(reading.size) - bytes), bytes);
    const int unsent = reading.unsent - (half.sent_fin && reading.unsent > 0 ? 1 : 0);
    record->set_unsent(static_cast<uint32_t>(unsent));
    sent = {};
    return {};
  }
};

Connections::Connections() = default;
Connections::Connections(Connections&&) noexcept = default;
Connections::~Connections() = default;

Result<> Connections::add(const Fd& socket, schema::TcpSocket* record) {
  Held held;
  held.socket =
      Fd(TRY(SYSCALL(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0), "duplicate of a socket")));
  held.record = record;
  held.reuse_address = TRY(get_int_option(socket, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"));
  held_.push_back(std::move(held));
  return {};
}

bool Connections::empty() const { return held_.empty(); }

void Connections::let_go() { held_.clear(); }

void Connections::close_if_asked(const DumpRequest& request) {
  if (request.tcp != TcpPolicy::kClose) return;
  for (const Held& held : held_) {
    held.record->set_state(inet_socket::kClose);
    // Where it comes back nobody may have that address.
    held.record->mutable_socket()->clear_local();
    held.record->mutable_socket()->clear_peer();
  }
  let_go();
}

Result<> Connections::add_listener(const Fd& socket, const schema::InetSocket& record) {
  Result<Fd> net_namespace = net_namespace_of(socket);
  if (!net_namespace.ok()) return {};  // without CAP_NET_ADMIN there is no lock either
  LockScope* scope = TRY(scope_of(net_namespace.take(), &listeners_));
  tcp_socket::add_listener(record, scope);
  return {};
}

// While a tree that is to run on stands still, the kernel answers new clients for it and queues
// them: nothing is lost, and a SYN that is dropped would come again after a second only.
Result<NetworkLock> Connections::lock(const DumpRequest& request) const {
  if (request.network_lock == NetworkLockMethod::kSkip) return NetworkLock();
  std::vector<LockScope> scopes;
  for (const Held& held : held_) {
    Fd net_namespace = TRY(net_namespace_of(held.socket));
    LockScope* scope = TRY(scope_of(std::move(net_namespace), &scopes));
    scope->connections.push_back({held.record->socket().local(), held.record->socket().peer()});
  }
  if (request.final_state == FinalState::kKill) TRY(add_listeners(listeners_, &scopes));
  return NetworkLock::lock(scopes);
}

Result<> Connections::read() {
  std::vector<Reading> readings;
  std::vector<Held*> read;
  for (Held& held : held_) {
    // It may have come to something since it was found.
    held.record->set_state(TRY(inet_socket::look_at_tcp(held.socket)).state);
    if (held.record->state() == inet_socket::kClose) TRY(read_ended(held.socket, held.record));
    if (!held.readable()) continue;
    readings.push_back(TRY_WHILE(held.prepare(), "%s", name_of(*held.record).c_str()));
    read.push_back(&held);
  }
  if (read.empty()) return {};
  const pid_t us = ::getpid();
  size_t at = 0;
  Result<int> done = run_aside({.outlive_us = true}, [&] {
    be_undisturbed();
    int failed = 0;
    for (; at < readings.size() && failed == 0 && ::getppid() == us; at++)
      failed = read_whole(readings[at]);
    return failed;
  });
  if (!done.ok()) {  // somebody killed it
    for (const Held* held : read)
      (void)leave_repair(held->socket.get(), Leave::kQuietly, held->reuse_address);
    return done.take_error();
  }
  if (done.value() != 0) {
    Error error = Error::system(done.value(),
                                "TCP_REPAIR, which needs CAP_NET_ADMIN in the network "
                                "namespace of the connection");
    return std::move(error).while_doing(name_of(*read[at - 1]->record));
  }
  for (size_t i = 0; i < read.size(); i++)
    TRY_WHILE(read[i]->take(readings[i]), "%s", name_of(*read[i]->record).c_str());
  return {};
}

Result<> Connections::vanish(const std::vector<Task>& tasks, const NetworkLock& lock) const {
  if (held_.empty() && lock.empty()) return {};
  Result<int> done = run_aside({.outlive_us = true}, [&] {
    be_undisturbed();
    int failed = lock.keep();
    size_t entered = 0;
    for (; entered < held_.size() && failed == 0; entered++)
      if (held_[entered].readable()) failed = enter_repair(held_[entered].socket.get());
    for (size_t i = 0; i < entered && failed != 0; i++)
      if (held_[i].readable())
        (void)leave_repair(held_[i].socket.get(), Leave::kQuietly, held_[i].reuse_address);
    // Children first, as whoever kills the tree does (FrozenTree::finish).
    for (auto task = tasks.rbegin(); task != tasks.rend() && failed == 0; ++task)
      if (task->alive())
        (void)::syscall(SYS_pidfd_send_signal, task->pidfd.get(), SIGKILL, nullptr, 0);
    return failed;
  });
  if (done.ok() && done.value() == 0) return {};
  lock.unkeep();
  if (!done.ok()) {  // somebody killed it
    for (const Held& held : held_)
      (void)leave_repair(held.socket.get(), Leave::kQuietly, held.reuse_address);
    return done.take_error();
  }
  return Error::system(done.value(),
                       "the connections of the tree could not be put aside; it runs on, "
                       "though its image is complete");
}

}  // namespace ncr
