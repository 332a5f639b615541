// Socket options (engine and child). The kernel keeps them in struct sock; getsockopt(2) gives
// nearly all of them back in the form that setsockopt(2) takes. Exceptions: buffer sizes come
// doubled, setting one locks it against growing by itself (so only sizes that differ are set), and
// a classic filter is read with SO_GET_FILTER, counted in instructions. Filters made of eBPF cannot
// be read.
#include "engine/resources/socket_options.h"

#include <asm/socket.h>
#include <linux/filter.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace ncr {
namespace {

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#ifndef SO_RESERVE_MEM
#define SO_RESERVE_MEM 73
#endif
#ifndef SO_TXREHASH
#define SO_TXREHASH 74
#endif
constexpr int kPassPidfd = 76;   // SO_PASSPIDFD, 6.5
constexpr int kPassRights = 83;  // SO_PASSRIGHTS, 6.16

// Order matters on the way back: sizes first, the lock of sizes after them.
constexpr SocketOptionName kCommon[] = {
    {SOL_SOCKET, SO_SNDBUF, "SO_SNDBUF"},
    {SOL_SOCKET, SO_RCVBUF, "SO_RCVBUF"},
    {SOL_SOCKET, SO_BUF_LOCK, "SO_BUF_LOCK"},
    {SOL_SOCKET, SO_RCVLOWAT, "SO_RCVLOWAT"},
    {SOL_SOCKET, SO_RCVTIMEO_OLD, "SO_RCVTIMEO"},
    {SOL_SOCKET, SO_SNDTIMEO_OLD, "SO_SNDTIMEO"},
    {SOL_SOCKET, SO_LINGER, "SO_LINGER"},
    {SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"},
    {SOL_SOCKET, SO_BROADCAST, "SO_BROADCAST"},
    {SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE"},
    {SOL_SOCKET, SO_OOBINLINE, "SO_OOBINLINE"},
    {SOL_SOCKET, SO_DONTROUTE, "SO_DONTROUTE"},
    {SOL_SOCKET, SO_PRIORITY, "SO_PRIORITY"},
    {SOL_SOCKET, SO_MARK, "SO_MARK"},
    {SOL_SOCKET, SO_TIMESTAMP_OLD, "SO_TIMESTAMP"},
    {SOL_SOCKET, SO_TIMESTAMPNS_OLD, "SO_TIMESTAMPNS"},
    {SOL_SOCKET, SO_TIMESTAMP_NEW, "SO_TIMESTAMP_NEW"},
    {SOL_SOCKET, SO_TIMESTAMPNS_NEW, "SO_TIMESTAMPNS_NEW"},
    {SOL_SOCKET, SO_TIMESTAMPING_OLD, "SO_TIMESTAMPING"},
    {SOL_SOCKET, SO_PASSCRED, "SO_PASSCRED"},
    {SOL_SOCKET, SO_PASSSEC, "SO_PASSSEC"},
    {SOL_SOCKET, kPassPidfd, "SO_PASSPIDFD"},
    {SOL_SOCKET, kPassRights, "SO_PASSRIGHTS"},
    {SOL_SOCKET, SO_PEEK_OFF, "SO_PEEK_OFF"},
    {SOL_SOCKET, SO_NO_CHECK, "SO_NO_CHECK"},
    {SOL_SOCKET, SO_RXQ_OVFL, "SO_RXQ_OVFL"},
    {SOL_SOCKET, SO_WIFI_STATUS, "SO_WIFI_STATUS"},
    {SOL_SOCKET, SO_NOFCS, "SO_NOFCS"},
    {SOL_SOCKET, SO_BUSY_POLL, "SO_BUSY_POLL"},
    {SOL_SOCKET, SO_MAX_PACING_RATE, "SO_MAX_PACING_RATE"},
    {SOL_SOCKET, SO_ZEROCOPY, "SO_ZEROCOPY"},
    {SOL_SOCKET, SO_TXTIME, "SO_TXTIME"},
    {SOL_SOCKET, SO_TXREHASH, "SO_TXREHASH"},
    {SOL_SOCKET, SO_SELECT_ERR_QUEUE, "SO_SELECT_ERR_QUEUE"},
};

Result<std::string> read_option(const Fd& socket, const SocketOptionName& option, bool* known) {
  char value[256] = {};
  socklen_t size = sizeof value;
  Result<int> got = SYSCALL(::getsockopt(socket.get(), option.level, option.name, value, &size),
                            "getsockopt %s", option.text);
  *known = got.ok();
  if (got.ok()) return std::string(value, size);
  switch (got.error().os_error()) {
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case EINVAL:
    case ENOTCONN:
    case EPERM:
      return std::string();
    default:
      return got.take_error();
  }
}

const char* text_of(int level, int name) {
  for (const SocketOptionName& option : kCommon)
    if (option.level == level && option.name == name) return option.text;
  return "option";
}

Result<> set_filter(const Fd& socket, const std::string& value) {
  std::vector<sock_filter> code(value.size() / sizeof(sock_filter));
  std::copy_n(value.data(), code.size() * sizeof(sock_filter),
              reinterpret_cast<char*>(code.data()));
  sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  TRY(SYSCALL(::setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program),
              "setsockopt SO_ATTACH_FILTER"));
  return {};
}

bool is_buffer_size(const schema::SocketOption& option) {
  return option.level() == SOL_SOCKET && (option.name() == SO_SNDBUF || option.name() == SO_RCVBUF);
}

Result<> set_option(const Fd& socket, const schema::SocketOption& option) {
  if (option.level() == SOL_SOCKET && option.name() == SO_ATTACH_FILTER)
    return set_filter(socket, option.value());
  bool known = false;
  std::string now = TRY(read_option(socket, {option.level(), option.name(), ""}, &known));
  if (known && now == option.value()) return {};
  if (is_buffer_size(option) && option.value().size() == sizeof(int)) {
    int bytes = 0;
    memcpy(&bytes, option.value().data(), sizeof bytes);
    return set_buffer_size(socket, option.name(), bytes);
  }
  TRY(SYSCALL(::setsockopt(socket.get(), option.level(), option.name(), option.value().data(),
                           static_cast<socklen_t>(option.value().size())),
              "setsockopt %s (level %d, number %d)", text_of(option.level(), option.name()),
              option.level(), option.name()));
  return {};
}

}  // namespace

std::span<const SocketOptionName> common_socket_options() { return kCommon; }

Result<> read_socket_options(const Fd& socket, std::span<const SocketOptionName> names,
                             SocketOptions* out) {
  for (const SocketOptionName& name : names) {
    bool known = false;
    std::string value = TRY(read_option(socket, name, &known));
    if (!known || value.empty()) continue;
    schema::SocketOption* option = out->Add();
    option->set_level(name.level);
    option->set_name(name.name);
    option->set_value(value);
  }
  return {};
}

Result<> read_socket_filter(const Fd& socket, SocketOptions* out) {
  socklen_t count = 0;  // asked with 0, the kernel tells how many instructions there are
  Result<int> got = SYSCALL(::getsockopt(socket.get(), SOL_SOCKET, SO_GET_FILTER, nullptr, &count),
                            "getsockopt SO_GET_FILTER");
  if (!got.ok() && got.error().os_error() == EACCES)
    return Error::unsupported("its filter is an eBPF program, which cannot be read back");
  if (!got.ok()) return got.take_error();
  if (count == 0) return {};
  std::vector<sock_filter> code(count);
  TRY(SYSCALL(::getsockopt(socket.get(), SOL_SOCKET, SO_GET_FILTER, code.data(), &count),
              "getsockopt SO_GET_FILTER"));
  schema::SocketOption* option = out->Add();
  option->set_level(SOL_SOCKET);
  option->set_name(SO_ATTACH_FILTER);
  option->set_value(code.data(), count * sizeof(sock_filter));
  constexpr SocketOptionName kLock[] = {{SOL_SOCKET, SO_LOCK_FILTER, "SO_LOCK_FILTER"}};
  return read_socket_options(socket, kLock, out);
}

Result<> set_socket_options(const Fd& socket, const SocketOptions& options) {
  for (const schema::SocketOption& option : options) TRY(set_option(socket, option));
  return {};
}

Result<int> get_int_option(const Fd& socket, int level, int name, const char* text) {
  int value = 0;
  socklen_t size = sizeof value;
  TRY(SYSCALL(::getsockopt(socket.get(), level, name, &value, &size), "getsockopt %s", text));
  return value;
}

Result<> set_int_option(const Fd& socket, int level, int name, int value, const char* text) {
  TRY(SYSCALL(::setsockopt(socket.get(), level, name, &value, sizeof value), "setsockopt %s",
              text));
  return {};
}

Result<> set_buffer_size(const Fd& socket, int name, int bytes) {
  int force = name == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
  if (set_int_option(socket, SOL_SOCKET, force, bytes / 2, "buffer size").ok()) return {};
  return set_int_option(socket, SOL_SOCKET, name, bytes / 2, "buffer size");
}

}  // namespace ncr
