// See ended.h. What is left is a socket in CLOSE with a receive queue, which knows still between
// whom it was. Where these names are of no use any more (the address is not here, somebody else
// uses them) it comes back without: with an empty queue it is like one that was shut down before it
// ever connected, with bytes in it it is made by a conversation with ourselves, over the loopback,
// in which the other end says these bytes and closes first. (engine and child)
#include "engine/resources/tcp_socket/ended.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "engine/resources/inet_socket/inet_look.h"
#include "engine/resources/tcp_socket/roomy_buffer.h"

namespace ncr::tcp_socket {
namespace {

constexpr int kPatienceMs = 5000;

Result<> await(const Fd& socket, short what) {
  pollfd wait{socket.get(), what, 0};
  const int ready = TRY(SYSCALL(::poll(&wait, 1, kPatienceMs), "poll"));
  if (ready == 1) return {};
  return Error(ErrorCode::kSystem, "a conversation over the loopback does not go on");
}

Result<Fd> connect_to_ourselves(const Fd& socket, int family) {
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_addr = in6addr_loopback;
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* name =
      family == AF_INET6 ? reinterpret_cast<sockaddr*>(&six) : reinterpret_cast<sockaddr*>(&four);
  socklen_t size = family == AF_INET6 ? sizeof six : sizeof four;
  Fd listener(TRY(SYSCALL(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")));
  TRY(SYSCALL(::bind(listener.get(), name, size), "bind to the loopback"));
  TRY(SYSCALL(::listen(listener.get(), 1), "listen at the loopback"));
  TRY(SYSCALL(::getsockname(listener.get(), name, &size), "getsockname"));
  TRY(SYSCALL(::connect(socket.get(), name, size), "connect over the loopback"));
  TRY(await(listener, POLLIN));
  return Fd(TRY(SYSCALL(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK),
                        "accept from the loopback")));
}

Result<> say(const Fd& speaker, const std::string& data) {
  for (size_t said = 0; said < data.size();) {
    TRY(await(speaker, POLLOUT));
    said += static_cast<size_t>(
        TRY(SYSCALL(::send(speaker.get(), data.data() + said, data.size() - said, MSG_NOSIGNAL),
                    "send over the loopback")));
  }
  TRY(SYSCALL(::shutdown(speaker.get(), SHUT_WR), "shutdown"));
  return {};
}

Result<> wait_for_close(const Fd& socket) {
  for (int naps = 0; naps < kPatienceMs; naps++) {
    const inet_socket::TcpLook look = TRY(inet_socket::look_at_tcp(socket));
    if (look.state == inet_socket::kClose) return {};
    ::usleep(1000);
  }
  return Error(ErrorCode::kSystem, "a conversation over the loopback does not end");
}

}  // namespace

Result<std::string> peek_received(const Fd& socket, size_t size) {
  std::string data(size, '\0');
  if (size == 0) return data;
  const ssize_t got = TRY(SYSCALL(::recv(socket.get(), data.data(), size, MSG_PEEK | MSG_DONTWAIT),
                                  "peek at received data"));
  if (static_cast<size_t>(got) != size)
    return Error::unsupported(
        strf("%zu bytes are in its receive queue, but only %zd can be seen", size, got));
  return data;
}

Result<> read_ended(const Fd& socket, schema::TcpSocket* out) {
  int unread = 0;
  TRY(SYSCALL(::ioctl(socket.get(), FIONREAD, &unread), "ioctl FIONREAD"));
  out->mutable_receive()->set_data(TRY(peek_received(socket, static_cast<size_t>(unread))));
  out->mutable_socket()->set_local(TRY(inet_socket::local_address(socket)));
  out->mutable_socket()->set_peer(TRY(inet_socket::last_peer_address(socket)));
  return {};
}

Result<> make_ended(const Fd& socket, const schema::TcpSocket& record) {
  const std::string& data = record.receive().data();
  if (data.empty()) {
    // It fails, and closes both ways all the same (inet_shutdown, net/ipv4/af_inet.c).
    (void)::shutdown(socket.get(), SHUT_RDWR);
    return {};
  }
  RoomyBuffer buffer = TRY(RoomyBuffer::widen(socket, SO_RCVBUF, data.size()));
  Fd speaker = TRY(connect_to_ourselves(socket, static_cast<int>(record.socket().family())));
  TRY(say(speaker, data));
  TRY(await(socket, POLLRDHUP));
  TRY(SYSCALL(::shutdown(socket.get(), SHUT_WR), "shutdown"));
  TRY(wait_for_close(socket));
  return buffer.put_back(socket);
}

}  // namespace ncr::tcp_socket
