#include "frontends/criu/service.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "frontends/criu/descriptor.h"
#include "frontends/criu/rpc_server.h"

namespace criu {
namespace {

constexpr char kDefaultSocket[] = "./criu_service.socket";
constexpr int kBacklog = 16;

Status listen_at(const std::string& path, Descriptor* socket) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof name.sun_path)
    return Status::bad_option("address " + path + ": the path of a socket is shorter");
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  *socket = Descriptor(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket->valid()) return Status::system("socket", errno);
  // A service that was killed leaves its socket.
  struct stat found {};
  if (::lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode)) ::unlink(path.c_str());
  if (::bind(socket->get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 ||
      ::listen(socket->get(), kBacklog) != 0)
    return Status::system("listen at " + path, errno);
  return {};
}

// What a request names (processes, paths, descriptors) is reached with our rights, not its own.
bool may_ask(int connection) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

// Children of a connection's process are waited for by it, those of the service by nobody.
void serve_one(int listening, Descriptor connection, Engine& engine, const Options& options) {
  const pid_t child = ::fork();
  if (child != 0) return;
  std::signal(SIGCHLD, SIG_DFL);
  ::close(listening);
  const bool allowed = may_ask(connection.get());
  ::_exit(allowed ? RpcServer(connection.get(), engine, options).serve() : 1);
}

}  // namespace

Status run_service(const Options& options, Engine& engine, const Journal& journal) {
  Descriptor listening;
  const std::string path = options.address.empty() ? kDefaultSocket : options.address;
  Status listens = listen_at(path, &listening);
  if (!listens.ok()) return listens;
  std::signal(SIGCHLD, SIG_IGN);
  journal.info("listening at " + path);
  if (options.status_fd >= 0) {
    const char nul = 0;
    if (::write(options.status_fd, &nul, 1) == 1) ::close(options.status_fd);
  }
  for (;;) {
    Descriptor connection(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection.valid())
      serve_one(listening.get(), std::move(connection), engine, options);
    else if (errno != EINTR && errno != ECONNABORTED)
      return Status::system("accept at " + path, errno);
  }
}

}  // namespace criu
