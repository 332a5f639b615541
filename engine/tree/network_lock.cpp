// A lock is an nftables table of our own in each network namespace (engine and coordinator). The
// table belongs to our netlink socket, so the kernel takes it away when we die; only keep() makes
// one that stays. A tree that was moved away leaves its kept table behind, and may come back with
// another: its connections are looked for in all of them. A netlink socket works in the namespace
// it was made in: a process aside makes it there.
#include "engine/tree/network_lock.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "engine/base/call_code.h"
#include "engine/base/netlink.h"
#include "engine/resources/aside.h"
#include "engine/tree/deserted_network.h"

#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C
#endif

namespace ncr {
namespace {

constexpr char kHeldPrefix[] = "nativecr_held_";
constexpr char kKeptPrefix[] = "nativecr_";

Result<std::string> random_name(const char* prefix) {
  uint64_t number = 0;
  TRY(SYSCALL(::getrandom(&number, sizeof number, 0), "getrandom"));
  return strf("%s%016llx", prefix, static_cast<unsigned long long>(number));
}

Result<Fd> netlink_in(const Fd& net_namespace, int protocol) {
  auto make = [protocol] { return ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol); };
  if (net_namespace.get() < 0) return Fd(TRY(SYSCALL(make(), "socket of netlink")));
  int made = -1;
  const int failed = TRY(run_aside({.outlive_us = true}, [&] {
    const int entered = sys::code_of(::setns(net_namespace.get(), CLONE_NEWNET));
    if (entered != 0) return entered;
    made = make();
    return sys::code_of(made);
  }));
  if (failed != 0) return Error::system(failed, "socket of netlink in a network namespace");
  return Fd(made);
}

Result<Fd> open_netlink(const Fd& net_namespace) {
  Fd netlink = TRY(netlink_in(net_namespace, NETLINK_NETFILTER));
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

netlink::Request question(uint16_t type) {
  netlink::Request request(static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type), 0);
  request.header(nfgenmsg{NFPROTO_INET, NFNETLINK_V0, 0});
  return request;
}

Result<std::vector<std::string>> kept_tables(netlink::Socket& netlink) {
  netlink::Request request = question(NFT_MSG_GETTABLE);
  std::vector<std::string> names;
  for (const netlink::Reply& table : TRY(netlink.list(request, "tables of nftables"))) {
    std::string name = nft_table_name(table.attributes(sizeof(nfgenmsg)));
    if (name.starts_with(kKeptPrefix) && !name.starts_with(kHeldPrefix))
      names.push_back(std::move(name));
  }
  return names;
}

Result<std::set<std::string>> keys_in(netlink::Socket& netlink, const std::string& table,
                                      const std::string& set) {
  netlink::Request request = question(NFT_MSG_GETSETELEM);
  request.put_text(NFTA_SET_ELEM_LIST_TABLE, table).put_text(NFTA_SET_ELEM_LIST_SET, set);
  std::set<std::string> keys;
  for (const netlink::Reply& part : TRY(netlink.list(request, "what a kept lock holds")))
    for (std::string& key : nft_listed_keys(part.attributes(sizeof(nfgenmsg))))
      keys.insert(std::move(key));
  return keys;
}

// What makes a kept table let these connections pass; "" if it does.
Result<std::string> freeing(netlink::Socket& netlink, const std::string& table,
                            const std::vector<NftKeys>& freed) {
  std::vector<NftKeys> ours;
  size_t held = 0, found = 0;
  for (const NftKeys& set : freed) {
    const std::set<std::string> there = TRY(keys_in(netlink, table, set.set));
    ours.push_back({set.set, {}});
    for (const std::string& key : std::set<std::string>(set.keys.begin(), set.keys.end()))
      if (there.contains(key)) ours.back().keys.push_back(key);
    held += there.size();
    found += ours.back().keys.size();
  }
  if (found == 0) return std::string();
  return found == held ? nft_unlock(table) : nft_let_pass(table, ours);
}

std::vector<ListenerAddress> all_listeners(const LockScope& scope) {
  std::vector<ListenerAddress> all = scope.listeners;
  all.insert(all.end(), scope.shared_listeners.begin(), scope.shared_listeners.end());
  return all;
}

}  // namespace

Result<NetworkLock> NetworkLock::lock(const std::vector<LockScope>& scopes) {
  NetworkLock lock;
  if (scopes.empty()) return lock;
  lock.name_ = TRY(random_name(kHeldPrefix));
  lock.kept_name_ = TRY(random_name(kKeptPrefix));
  for (const LockScope& scope : scopes) {
    Result<> added = lock.add(scope);
    if (!added.ok() && !scope.connections.empty()) return added.take_error();
  }
  if (lock.places_.empty()) lock.kept_name_.clear();
  return lock;
}

Result<> NetworkLock::add(const LockScope& scope) {
  const std::vector<ListenerAddress> all = all_listeners(scope);
  const std::string less = nft_lock(name_, NftTable::kOurs, scope.connections);
  const std::string now = nft_lock(name_, NftTable::kOurs, scope.connections, scope.listeners);
  Place place{TRY(open_netlink(scope.net_namespace)),
              nft_lock(kept_name_, NftTable::kStays, scope.connections, all),
              scope.connections.empty()
                  ? std::string()
                  : nft_lock(kept_name_, NftTable::kStays, scope.connections)};
  TRY(make_room(place.netlink, std::max(now.size(), place.keep.size())));
  int failed = commit_nft(place.netlink.get(), now.data(), now.size());
  if (failed != 0 && !scope.connections.empty() && !scope.listeners.empty())
    failed = commit_nft(place.netlink.get(), less.data(), less.size());
  if (failed != 0) return explain(failed);
  places_.push_back(std::move(place));
  return {};
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
    int failed = commit_nft(place.netlink.get(), place.keep.data(), place.keep.size());
    if (failed != 0) {  // a kernel without the expression "socket"
      const std::string& less = place.keep_less;
      failed = less.empty() ? 0 : commit_nft(place.netlink.get(), less.data(), less.size());
    }
    if (failed != 0) return failed;
  }
  return 0;
}

void NetworkLock::unkeep() const {
  const std::string away = nft_unlock(kept_name_);
  for (const Place& place : places_)
    (void)commit_nft(place.netlink.get(), away.data(), away.size());
}

Result<> NetworkLock::cut_off_deserted(const std::vector<uint64_t>& net_namespace_inodes) const {
  for (const Place& place : places_) {
    Fd net_namespace = TRY(net_namespace_of(place.netlink));
    struct stat stat {};
    TRY(SYSCALL(::fstat(net_namespace.get(), &stat), "fstat of a network namespace"));
    const auto& list = net_namespace_inodes;
    if (std::find(list.begin(), list.end(), stat.st_ino) == list.end()) continue;
    const bool deserted = TRY(is_deserted(stat.st_ino));
    if (!deserted) continue;
    netlink::Socket routes(TRY(netlink_in(net_namespace, NETLINK_ROUTE)));
    TRY(take_links_down(routes));
  }
  return {};
}

Result<> remove_kept_lock(const Fd& net_namespace, const std::string& name) {
  Fd netlink = TRY(open_netlink(net_namespace));
  const std::string away = nft_unlock(name);
  const int failed = commit_nft(netlink.get(), away.data(), away.size());
  if (failed == 0 || failed == ENOENT) return {};
  return Error::system(failed, strf("delete the nftables table %s", name.c_str()));
}

Result<> free_from_kept_locks(const LockScope& scope) {
  Fd commits = TRY(open_netlink(scope.net_namespace));
  netlink::Socket netlink(TRY(open_netlink(scope.net_namespace)));
  const std::vector<NftKeys> freed = nft_keys(scope.connections, all_listeners(scope));
  for (const std::string& table : TRY(kept_tables(netlink))) {
    Result<std::string> transaction = freeing(netlink, table, freed);
    if (!transaction.ok() || transaction.value().empty()) continue;  // taken away meanwhile
    TRY(make_room(commits, transaction.value().size()));
    const int failed =
        commit_nft(commits.get(), transaction.value().data(), transaction.value().size());
    if (failed != 0 && failed != ENOENT)
      return Error::system(failed,
                           strf("free connections from the nftables table %s", table.c_str()));
  }
  return {};
}

Result<Fd> net_namespace_of(const Fd& socket) {
  return Fd(TRY(SYSCALL(::ioctl(socket.get(), SIOCGSKNS), "ioctl SIOCGSKNS")));
}

}  // namespace ncr
