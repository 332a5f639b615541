// See revival.h. Sockets in repair answer packets like any other, so before they are made a lock of
// our own is put up beside the one that the dump left; it goes with us if we die, the other stays
// for the next try. (coordinator)
#include "engine/resources/tcp_socket/revival.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <map>
#include <set>

#include "engine/resources/inet_socket/inet_address.h"
#include "engine/resources/inet_socket/inet_look.h"
#include "engine/resources/tcp_socket/listeners.h"
#include "engine/resources/tcp_socket/repair.h"
#include "engine/resources/tcp_socket/tcp_restore.h"

namespace ncr::tcp_socket {
namespace {

bool is_connection(const schema::OpenFile& file) {
  return file.has_tcp_socket() && file.tcp_socket().state() != inet_socket::kClose;
}

std::string name_of(const schema::TcpSocket& record) {
  return strf("TCP connection %s -> %s", inet_socket::address_text(record.socket().local()).c_str(),
              inet_socket::address_text(record.socket().peer()).c_str());
}

// Begun anew, from the same address. Whether it succeeds is the program's to find out, as before.
Result<> connect_again(const Fd& socket, const schema::TcpSocket& record) {
  const std::string& peer = record.socket().peer();
  const int flags = TRY(SYSCALL(::fcntl(socket.get(), F_GETFL), "F_GETFL"));
  TRY(SYSCALL(::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK), "F_SETFL"));
  (void)::connect(socket.get(), reinterpret_cast<const sockaddr*>(peer.data()),
                  static_cast<socklen_t>(peer.size()));
  TRY(SYSCALL(::fcntl(socket.get(), F_SETFL, flags), "F_SETFL"));
  return {};
}

}  // namespace

Result<> check_policy(const Image& image, const RestoreRequest& request) {
  if (request.tcp != TcpPolicy::kRefuse) return {};
  for (const auto& [id, file] : image.files)
    if (is_connection(file))
      return Error::unsupported(
          strf("file %u is a %s; say what becomes of connections: --tcp-established keeps them, "
               "--tcp-close lets them come back closed",
               id, name_of(file.tcp_socket()).c_str()));
  return {};
}

Revival::Revival(const RestorePlan& plan, const RestoreRequest& request)
    : plan_(plan), request_(request) {}

std::vector<const schema::OpenFile*> Revival::wanted() const {
  std::vector<const schema::OpenFile*> list;
  if (request_.tcp != TcpPolicy::kKeep) return list;
  for (const auto& [id, file] : plan_.image->files)
    if (is_connection(file)) list.push_back(&file);
  return list;
}

std::vector<const schema::OpenFile*> Revival::listeners() const {
  std::vector<const schema::OpenFile*> list;
  if (plan_.image->inventory.network_lock().empty()) return list;
  for (const auto& [id, file] : plan_.image->files)
    if (file.has_inet_socket() && file.inet_socket().listening()) list.push_back(&file);
  return list;
}

Result<> Revival::lock(const std::function<Result<Fd>(uint32_t id)>& network) {
  const std::vector<const schema::OpenFile*> files = wanted();
  if (files.empty() || plan_.image->inventory.network_lock().empty()) return {};
  std::map<uint32_t, std::vector<ConnectionAddresses>> by_network;
  for (const schema::OpenFile* file : files)
    by_network[file->net_namespace()].push_back(
        {file->tcp_socket().socket().local(), file->tcp_socket().socket().peer()});
  std::vector<LockScope> scopes;
  for (auto& [id, connections] : by_network)
    scopes.push_back({TRY(network(id)), std::move(connections), {}, {}});
  Result<NetworkLock> locked = NetworkLock::lock(scopes);
  // On a machine without nftables no lock was kept either; peers may come too early, as for any
  // restart of a server.
  if (locked.ok())
    lock_.emplace(locked.take());
  else
    request_.callbacks.log.warning("%s", locked.error().text().c_str());
  return {};
}

Result<> Revival::take(const std::function<pid_t(size_t)>& pid_of) {
  std::set<uint32_t> missing;
  for (const schema::OpenFile* file : wanted()) missing.insert(file->id());
  for (const schema::OpenFile* file : listeners()) missing.insert(file->id());
  for (size_t i = 0; i < plan_.tasks.size() && !missing.empty(); i++) {
    if (!plan_.tasks[i].live()) continue;
    Fd task;
    for (const schema::Descriptor& descriptor : plan_.tasks[i].record->descriptors()) {
      if (missing.erase(descriptor.file_id()) == 0) continue;
      if (task.get() < 0) task = TRY(sys::pidfd_open(pid_of(i)));
      Fd socket = TRY(sys::pidfd_getfd(task, descriptor.number()));
      TRY(take_descriptor(descriptor.file_id(), std::move(socket)));
    }
  }
  return {};
}

Result<> Revival::take_descriptor(uint32_t file_id, Fd socket) {
  const schema::OpenFile& file = plan_.image->files.at(file_id);
  if (file.has_tcp_socket()) {
    restored_.push_back({&file.tcp_socket(), std::move(socket)});
    return {};
  }
  Result<Fd> net_namespace = net_namespace_of(socket);
  if (!net_namespace.ok()) return {};  // whoever may not look there cannot unlock there either
  LockScope* scope = TRY(scope_of(net_namespace.take(), &listeners_));
  add_listener(file.inet_socket(), scope);
  return {};
}

Result<std::vector<LockScope>> Revival::scopes() const {
  std::vector<LockScope> scopes;
  for (const Restored& restored : restored_) {
    Fd net_namespace = TRY(net_namespace_of(restored.socket));
    LockScope* scope = TRY(scope_of(std::move(net_namespace), &scopes));
    const schema::InetSocket& socket = restored.record->socket();
    scope->connections.push_back({socket.local(), socket.peer()});
  }
  TRY(add_listeners(listeners_, &scopes));
  return scopes;
}

Result<> Revival::unlock(const LockScope& scope, const std::string& kept) const {
  TRY(remove_kept_lock(scope.net_namespace, kept));
  return free_from_kept_locks(scope);
}

Result<> Revival::unlock() {
  const std::string& kept = plan_.image->inventory.network_lock();
  if (!kept.empty()) {
    for (const LockScope& scope : TRY(scopes())) {
      Result<> unlocked = unlock(scope, kept);
      if (!unlocked.ok() && !scope.connections.empty()) return unlocked;
      // A kept lock lets pass what somebody listens for.
      if (!unlocked.ok()) request_.callbacks.log.warning("%s", unlocked.error().text().c_str());
    }
  }
  if (lock_.has_value()) return lock_->unlock();
  return {};
}

Result<> Revival::revive() {
  TRY(unlock());
  for (const Restored& restored : restored_) {
    const schema::TcpSocket& record = *restored.record;
    if (record.state() == inet_socket::kSynSent) {
      TRY_WHILE(connect_again(restored.socket, record), "%s", name_of(record).c_str());
      continue;
    }
    const int failed =
        leave_repair(restored.socket.get(), Leave::kWithProbe, reuse_address_of(record));
    if (failed != 0)
      return Error::system(failed, strf("%s: leave TCP_REPAIR", name_of(record).c_str()));
  }
  restored_.clear();
  return {};
}

}  // namespace ncr::tcp_socket
