// The TCP connections of a tree that is being dumped, and its listeners. Found while the tree is
// looked at, read once no packet reaches them any more. See docs/adr/0012.
#pragma once

#include <memory>
#include <vector>

#include "engine/request.h"
#include "engine/tree/frozen_tree.h"
#include "engine/tree/network_lock.h"
#include "tcp_socket.pb.h"

namespace ncr {

class Connections {
 public:
  Connections();
  Connections(Connections&&) noexcept;
  ~Connections();

  // A socket of the tree, by a duplicate of ours; the record is filled by read().
  Result<> add(const Fd& socket, schema::TcpSocket* record);
  // Likewise one that listens. It is locked by a dump that kills the tree only.
  Result<> add_listener(const Fd& socket, const schema::InetSocket& record);
  bool empty() const;

  // What the request wants closed is recorded as closed, and forgotten here.
  void close_if_asked(const DumpRequest& request);
  Result<NetworkLock> lock(const DumpRequest& request) const;
  // What only TCP_REPAIR tells. When it returns, or when we die meanwhile, no socket is in repair.
  Result<> read();

  // The image is durable, the tree is to be killed: its connections end without a word to their
  // peers. Kills every task, and comes to its end even if we are killed meanwhile. After an error
  // everything is as before.
  Result<> vanish(const std::vector<Task>& tasks, const NetworkLock& lock) const;

  // A tree that runs on closes its sockets itself.
  void let_go();

 private:
  struct Held;
  std::vector<Held> held_;
  std::vector<LockScope> listeners_;
};

}  // namespace ncr
