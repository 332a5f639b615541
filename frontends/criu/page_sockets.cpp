// The sockets that pages travel through: a dump connects, a page server listens.
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>

#include "frontends/criu/work.h"

namespace criu {
namespace {

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

Status resolve(const Options& options, int flags, Addresses* addresses) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* found = nullptr;
  const char* address = options.address.empty() ? nullptr : options.address.c_str();
  const int failed = ::getaddrinfo(address, std::to_string(options.port).c_str(), &hints, &found);
  if (failed != 0)
    return Status::bad_option("page server at " + options.address + ": " + ::gai_strerror(failed));
  *addresses = Addresses(found, &::freeaddrinfo);
  return {};
}

int port_of(int socket) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &size) != 0) return 0;
  return ntohs(name.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&name)->sin6_port
                                          : reinterpret_cast<sockaddr_in*>(&name)->sin_port);
}

}  // namespace

Status Work::connect_page_server(Descriptor* connection) {
  if (options_.page_server_fd >= 0) {
    *connection = Descriptor(::fcntl(options_.page_server_fd, F_DUPFD_CLOEXEC, 3));
    if (connection->valid()) return {};
    return fail(Status::system("page server descriptor", errno));
  }
  const std::string what =
      "connect to the page server at " + options_.address + ":" + std::to_string(options_.port);
  if (options_.address.empty() || options_.port == 0)
    return fail(Status::bad_option(what + ": name its address and port"));
  Addresses addresses(nullptr, &::freeaddrinfo);
  Status resolved = resolve(options_, AI_NUMERICSERV, &addresses);
  if (!resolved.ok()) return fail(std::move(resolved));
  int error = EHOSTUNREACH;
  for (const addrinfo* at = addresses.get(); at != nullptr; at = at->ai_next) {
    *connection = Descriptor(::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, 0));
    if (connection->valid() && ::connect(connection->get(), at->ai_addr, at->ai_addrlen) == 0)
      return {};
    error = errno;
  }
  return fail(Status::system(what, error));
}

Status listen_for_pages(const Options& options, Descriptor* socket, int* port) {
  Addresses addresses(nullptr, &::freeaddrinfo);
  Status resolved = resolve(options, AI_NUMERICSERV | AI_PASSIVE, &addresses);
  if (!resolved.ok()) return resolved;
  const addrinfo* at = addresses.get();
  const int on = 1;
  *socket = Descriptor(::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, 0));
  const bool listens = socket->valid() &&
                       ::setsockopt(socket->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                       ::bind(socket->get(), at->ai_addr, at->ai_addrlen) == 0 &&
                       ::listen(socket->get(), 1) == 0;
  if (!listens)
    return Status::system(
        "listen for pages at " + options.address + ":" + std::to_string(options.port), errno);
  *port = port_of(socket->get());
  return {};
}

}  // namespace criu
