// The connections and listeners of a tree that is being restored, from the coordinator's side. See
// docs/adr/0012.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "engine/restore_plan.h"
#include "engine/tree/network_lock.h"

namespace ncr::tcp_socket {

// kUnsupported: the image has connections, and the request does not say what becomes of them.
Result<> check_policy(const Image& image, const RestoreRequest& request);

// Locks, holds, and at last revives. Whatever happens before revive(), no peer has heard of it.
class [[nodiscard]] Revival {
 public:
  Revival(const RestorePlan& plan, const RestoreRequest& request);

  // Before the first socket is made. `network`: a namespace that they will be in, by its id in the
  // image; invalid: ours.
  Result<> lock(const std::function<Result<Fd>(uint32_t id)>& network);
  // Once every task has its descriptors: a duplicate of each connection, and where listeners are.
  // `pid_of`: of a task, by its index in the plan, as we number it.
  Result<> take(const std::function<pid_t(size_t)>& pid_of);
  // Right before the tree is released: lets packets pass, then the sockets out of repair.
  Result<> revive();

 private:
  struct Restored {
    const schema::TcpSocket* record;
    Fd socket;
  };
  std::vector<const schema::OpenFile*> wanted() const;
  std::vector<const schema::OpenFile*> listeners() const;  // that a kept lock may hold
  Result<> take_descriptor(uint32_t file_id, Fd socket);
  Result<std::vector<LockScope>> scopes() const;  // of what was restored
  Result<> unlock(const LockScope& scope, const std::string& kept) const;
  Result<> unlock();

  const RestorePlan& plan_;
  const RestoreRequest& request_;
  std::vector<Restored> restored_;
  std::vector<LockScope> listeners_;  // that are back
  std::optional<NetworkLock> lock_;
};

}  // namespace ncr::tcp_socket
