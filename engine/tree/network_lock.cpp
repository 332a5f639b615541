// A lock is an nftables table of our own in each network namespace (engine and coordinator). The
// table belongs to our netlink socket, so the kernel takes it away when we die; only keep() makes
// one that stays. A netlink socket works in the namespace it was made in: a process aside makes it
// there.
#include "engine/tree/network_lock.h"

#include <linux/netlink.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>

#include "engine/base/call_code.h"
#include "engine/resources/aside.h"

#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C
#endif

namespace ncr {
namespace {

Result<std::string> random_name(const char* prefix) {
  uint64_t number = 0;
  TRY(SYSCALL(::getrandom(&number, sizeof number, 0), "getrandom"));
  return strf("%s%016llx", prefix, static_cast<unsigned long long>(number));
}

Result<Fd> netlink_in(const Fd& net_namespace) {
  auto make = [] { return ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER); };
  if (net_namespace.get() < 0) return Fd(TRY(SYSCALL(make(), "socket NETLINK_NETFILTER")));
  int made = -1;
  const int failed = TRY(run_aside({.outlive_us = true}, [&] {
    const int entered = sys::code_of(::setns(net_namespace.get(), CLONE_NEWNET));
    if (entered != 0) return entered;
    made = make();
    return sys::code_of(made);
  }));
  if (failed != 0) return Error::system(failed, "socket NETLINK_NETFILTER in a network namespace");
  return Fd(made);
}

Result<Fd> open_netlink(const Fd& net_namespace) {
  Fd netlink = TRY(netlink_in(net_namespace));
  const int on = 1;
  TRY(SYSCALL(::setsockopt(netlink.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on),
              "setsockopt NETLINK_CAP_ACK"));
  return netlink;
}

// A transaction is one datagram, which must fit.
Result<> make_room(const Fd& netlink, size_t size) {
  const int wanted = static_cast<int>(std::max<size_t>(size, 64 << 10)) + (64 << 10);
  TRY(SYSCALL(::setsockopt(netlink.get(), SOL_SOCKET, SO_SNDBUFFORCE, &wanted, sizeof wanted),
              "setsockopt SO_SNDBUFFORCE"));
  return {};
}

Error explain(int failed) {
  return Error::system(failed, "nftables did not take the lock of the network")
      .while_doing(
          "connections are kept undisturbed by nftables; without it, choose --network-lock skip");
}

}  // namespace

Result<NetworkLock> NetworkLock::lock(const std::vector<LockScope>& scopes) {
  NetworkLock lock;
  if (scopes.empty()) return lock;
  lock.name_ = TRY(random_name("nativecr_held_"));
  lock.kept_name_ = TRY(random_name("nativecr_"));
  for (const LockScope& scope : scopes) {
    const std::string now = nft_lock(lock.name_, NftTable::kOurs, scope.connections);
    Place place{TRY(open_netlink(scope.net_namespace)),
                nft_lock(lock.kept_name_, NftTable::kStays, scope.connections)};
    TRY(make_room(place.netlink, now.size()));
    const int failed = commit_nft(place.netlink.get(), now.data(), now.size());
    if (failed != 0) return explain(failed);
    lock.places_.push_back(std::move(place));
  }
  return lock;
}

NetworkLock::~NetworkLock() { (void)unlock(); }

Result<> NetworkLock::unlock() {
  const std::string away = nft_unlock(name_);
  Result<> outcome;
  for (const Place& place : places_) {
    const int failed = commit_nft(place.netlink.get(), away.data(), away.size());
    if (failed != 0) outcome = Error::system(failed, "unlock the network");
  }
  places_.clear();  // closing the socket would unlock too, after a grace period of the kernel
  return outcome;
}

int NetworkLock::keep() const {
  for (const Place& place : places_) {
    const int failed = commit_nft(place.netlink.get(), place.keep.data(), place.keep.size());
    if (failed != 0) return failed;
  }
  return 0;
}

void NetworkLock::unkeep() const {
  const std::string away = nft_unlock(kept_name_);
  for (const Place& place : places_)
    (void)commit_nft(place.netlink.get(), away.data(), away.size());
}

Result<> remove_kept_lock(const Fd& net_namespace, const std::string& name) {
  Fd netlink = TRY(open_netlink(net_namespace));
  const std::string away = nft_unlock(name);
  const int failed = commit_nft(netlink.get(), away.data(), away.size());
  if (failed == 0 || failed == ENOENT) return {};
  return Error::system(failed, strf("delete the nftables table %s", name.c_str()));
}

Result<Fd> net_namespace_of(const Fd& socket) {
  return Fd(TRY(SYSCALL(::ioctl(socket.get(), SIOCGSKNS), "ioctl SIOCGSKNS")));
}

}  // namespace ncr
