// See listeners.h.
#include "engine/resources/tcp_socket/listeners.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>

namespace ncr::tcp_socket {
namespace {

// Set to something but zeroes.
bool has_option(const schema::InetSocket& socket, int level, int name) {
  const auto& options = socket.options();
  return std::any_of(options.begin(), options.end(), [&](const schema::SocketOption& option) {
    return option.level() == level && option.name() == name &&
           option.value().find_first_not_of('\0') != std::string::npos;
  });
}

}  // namespace

void add_listener(const schema::InetSocket& socket, LockScope* scope) {
  const bool shared = has_option(socket, SOL_SOCKET, SO_REUSEPORT) ||
                      has_option(socket, SOL_SOCKET, SO_BINDTODEVICE);
  auto& list = shared ? scope->shared_listeners : scope->listeners;
  list.push_back({socket.local(), has_option(socket, IPPROTO_IPV6, IPV6_V6ONLY)});
}

Result<> add_listeners(const std::vector<LockScope>& listening, std::vector<LockScope>* scopes) {
  for (const LockScope& from : listening) {
    Fd net_namespace(TRY(SYSCALL(::fcntl(from.net_namespace.get(), F_DUPFD_CLOEXEC, 0),
                                 "duplicate of a namespace")));
    LockScope* scope = TRY(scope_of(std::move(net_namespace), scopes));
    scope->listeners = from.listeners;
    scope->shared_listeners = from.shared_listeners;
  }
  return {};
}

Result<LockScope*> scope_of(Fd net_namespace, std::vector<LockScope>* scopes) {
  struct stat wanted {};
  TRY(SYSCALL(::fstat(net_namespace.get(), &wanted), "fstat of a network namespace"));
  for (LockScope& scope : *scopes) {
    struct stat stat {};
    TRY(SYSCALL(::fstat(scope.net_namespace.get(), &stat), "fstat of a network namespace"));
    if (stat.st_dev == wanted.st_dev && stat.st_ino == wanted.st_ino) return &scope;
  }
  scopes->emplace_back();
  scopes->back().net_namespace = std::move(net_namespace);
  return &scopes->back();
}

}  // namespace ncr::tcp_socket
