// See closed_network.h. For each family a table of nftables whose chains come before all others.
// (root task; a process beside the coordinator)
#include "engine/tree/closed_network.h"

#include <net/if_arp.h>

#include <climits>

#include "engine/base/netlink.h"
#include "engine/tree/nft_transaction.h"
#include "engine/tree/nft_writer.h"

namespace ncr {
namespace {

using nft::Attributes;
using nft::Expressions;
using nft::Transaction;

// linux/netfilter_arp.h and netfilter_bridge.h, which get in the way of netinet/in.h.
constexpr uint32_t kArpIn = 0, kArpOut = 1;
constexpr uint32_t kBridgePreRouting = 0, kBridgeLocalOut = 3;
constexpr const char* kTable = "nativecr_closed";

// What passes through a namespace comes in first.
struct Door {
  uint8_t family;
  const char* chain;
  uint32_t hook;
  bool has_loopback;
  uint32_t link_type;  // NFT_META_*: of the link that may be the loopback
};
constexpr Door kDoors[] = {
    {NFPROTO_INET, "in", NF_INET_PRE_ROUTING, true, NFT_META_IIFTYPE},
    {NFPROTO_INET, "out", NF_INET_LOCAL_OUT, true, NFT_META_OIFTYPE},
    {NFPROTO_ARP, "in", kArpIn, false, 0},
    {NFPROTO_ARP, "out", kArpOut, false, 0},
    {NFPROTO_BRIDGE, "in", kBridgePreRouting, false, 0},
    {NFPROTO_BRIDGE, "out", kBridgeLocalOut, false, 0},
};

void shut(Transaction& out, const Door& door) {
  nft::add_filter_chain(out, kTable, door.chain, door.hook, INT_MIN);
  constexpr uint16_t kLoopback = ARPHRD_LOOPBACK;
  out.message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, [&](Attributes put) {
    put.text(NFTA_RULE_TABLE, kTable);
    put.text(NFTA_RULE_CHAIN, door.chain);
    put.nest(NFTA_RULE_EXPRESSIONS, [&] {
      Expressions rule(put);
      if (door.has_loopback) rule.expect(door.link_type, NFT_CMP_NEQ, &kLoopback, sizeof kLoopback);
      rule.decide(NF_DROP);
    });
  });
}

void put_table(Transaction& out, uint8_t family, uint16_t type, int flags) {
  out.set_family(family);
  out.message(type, flags, [](Attributes put) { put.text(NFTA_TABLE_NAME, kTable); });
}

Result<> commit(const std::string& transaction, const char* what) {
  Fd netlink(
      TRY(SYSCALL(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), "socket")));
  const int failed = commit_nft(netlink.get(), transaction.data(), transaction.size());
  if (failed != 0) return Error::system(failed, what);
  return {};
}

}  // namespace

Result<> close_network(const std::vector<uint8_t>& families) {
  Transaction out;
  for (const uint8_t family : families) {
    put_table(out, family, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
    for (const Door& door : kDoors)
      if (door.family == family) shut(out, door);
  }
  return commit(out.finish(), "close a network namespace");
}

Result<bool> is_network_closed() {
  netlink::Socket socket = TRY(netlink::Socket::open(NETLINK_NETFILTER));
  netlink::Request question(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0);
  question.header(nfgenmsg{NFPROTO_INET, NFNETLINK_V0, 0}).put_text(NFTA_TABLE_NAME, kTable);
  Result<netlink::Reply> table = socket.get(question, "whether a network namespace is closed");
  if (table.ok()) return true;
  const int failed = table.error().os_error();
  // The last two: there is no nftables to close it with.
  if (failed == ENOENT || failed == EINVAL || failed == EOPNOTSUPP) return false;
  return table.take_error();
}

Result<> open_network(const std::vector<uint8_t>& families) {
  Transaction out;
  for (const uint8_t family : families) put_table(out, family, NFT_MSG_DELTABLE, 0);
  return commit(out.finish(), "open a network namespace");
}

}  // namespace ncr
