// Listeners of a tree: while they are away, whoever asks them for a connection should ask again.
// See docs/adr/0012. (engine and coordinator)
#pragma once

#include "engine/tree/network_lock.h"
#include "inet_socket.pb.h"

namespace ncr::tcp_socket {

void add_listener(const schema::InetSocket& socket, LockScope* scope);

// Beside the connections that are in `scopes`.
Result<> add_listeners(const std::vector<LockScope>& listening, std::vector<LockScope>* scopes);

// The one of this network namespace, made if it is not there.
Result<LockScope*> scope_of(Fd net_namespace, std::vector<LockScope>* scopes);

}  // namespace ncr::tcp_socket
