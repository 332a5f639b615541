// While a connection's socket is not there, or half read, its packets must not arrive: the kernel
// would answer a peer for a socket it does not have, and acknowledge data that no image holds. And
// who asks for a connection while the listener is away should ask again, not be refused. See
// docs/adr/0012.
#pragma once

#include <string>
#include <vector>

#include "engine/base/sys.h"
#include "engine/tree/nft_transaction.h"

namespace ncr {

// Of one network namespace.
struct LockScope {
  Fd net_namespace;  // invalid: ours
  std::vector<ConnectionAddresses> connections;
  // Locked where that can be done; no lock fails for want of it.
  std::vector<ListenerAddress> listeners;
  // Others may listen at the same address: locked only by a lock that is kept, which sees them.
  std::vector<ListenerAddress> shared_listeners;
};

// Drops the packets of connections, and of new ones to listeners. Goes away with this process,
// however that ends; the destructor unlocks.
class [[nodiscard]] NetworkLock {
 public:
  NetworkLock() = default;  // of nothing
  static Result<NetworkLock> lock(const std::vector<LockScope>& scopes);
  NetworkLock(NetworkLock&&) = default;
  NetworkLock& operator=(NetworkLock&&) = delete;
  ~NetworkLock();

  Result<> unlock();
  bool empty() const { return places_.empty(); }

  // A second lock that outlives us, under this name, in all of the namespaces. keep() makes it: 0
  // or an errno; it allocates nothing and may run in a process aside (engine/resources/aside.h).
  const std::string& kept_name() const { return kept_name_; }
  int keep() const;
  void unkeep() const;  // after a keep() that was for nothing

  // The tree is dead. Of these namespaces those that end with us (we hold them) are cut off, for
  // their end takes the kept lock away before the addresses.
  Result<> cut_off_deserted(const std::vector<uint64_t>& net_namespace_inodes) const;

 private:
  struct Place {
    Fd netlink;
    std::string keep;       // transaction
    std::string keep_less;  // without listeners; empty if nothing is left
  };
  Result<> add(const LockScope& scope);

  std::vector<Place> places_;
  std::string name_;
  std::string kept_name_;
};

// Takes away what keep() left, if it is there.
Result<> remove_kept_lock(const Fd& net_namespace, const std::string& name);
// What has come back, perhaps by another way, is held by nothing that any dump kept.
Result<> free_from_kept_locks(const LockScope& scope);

// The network namespace of a socket.
Result<Fd> net_namespace_of(const Fd& socket);

}  // namespace ncr
