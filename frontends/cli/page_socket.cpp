#include "frontends/cli/page_socket.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>

namespace cli {
namespace {

int complain(const PageServerAddress& server, const char* why) {
  std::fprintf(stderr, "nativecr: page server %s port %u: %s\n",
               server.address.empty() ? "(any address)" : server.address.c_str(),
               static_cast<unsigned>(server.port), why);
  return -1;
}

// The first of the addresses of a name that `use` can do something with.
int first_socket(const PageServerAddress& server, int flags,
                 const std::function<bool(int, const addrinfo&)>& use) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const char* name = server.address.empty() ? nullptr : server.address.c_str();
  const int failed = ::getaddrinfo(name, std::to_string(server.port).c_str(), &hints, &found);
  if (failed != 0) return complain(server, ::gai_strerror(failed));
  int made = -1, error = 0;
  for (const addrinfo* at = found; at != nullptr && made < 0; at = at->ai_next) {
    const int fd = ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (fd >= 0 && use(fd, *at)) {
      made = fd;
      break;
    }
    error = errno;
    if (fd >= 0) ::close(fd);
  }
  ::freeaddrinfo(found);
  return made >= 0 ? made : complain(server, std::strerror(error));
}

}  // namespace

void PageServerAddress::add_to(CLI::App& app) {
  app.add_option("--address", address, "Address of the page server");
  app.add_option("--port", port, "Port of the page server");
}

int connect_to(const PageServerAddress& server) {
  return first_socket(server, 0, [](int fd, const addrinfo& at) {
    return ::connect(fd, at.ai_addr, at.ai_addrlen) == 0;
  });
}

int listen_at(const PageServerAddress& server) {
  return first_socket(server, AI_PASSIVE, [](int fd, const addrinfo& at) {
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    return ::bind(fd, at.ai_addr, at.ai_addrlen) == 0 && ::listen(fd, 8) == 0;
  });
}

}  // namespace cli
