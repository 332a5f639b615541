// Transactions of nf_tables (linux/netfilter/nf_tables.h) that keep the packets of some connections
// out, and let them pass again. Pure, but for commit_nft().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ncr {

struct ConnectionAddresses {  // struct sockaddr_in or sockaddr_in6 each
  std::string local;
  std::string peer;
};

struct ListenerAddress {
  std::string local;  // struct sockaddr_in or sockaddr_in6
  bool v6_only = false;
};

// Packets that carry it pass a lock: those that a restore makes itself (SO_MARK).
constexpr uint32_t kLockPassMark = 0x6e637274;

enum class NftTable {
  kOurs,   // goes away when the netlink socket that made it is closed (NFT_TABLE_F_OWNER, 5.12)
  kStays,  // until somebody deletes it
};

// A table "inet NAME" that drops what comes in and goes out for these connections, and what asks
// for a new one at these listeners; a table that stays lets that pass where somebody listens. What
// is not of IPv4 or IPv6 is left out.
std::string nft_lock(const std::string& table, NftTable kind,
                     const std::vector<ConnectionAddresses>& connections,
                     const std::vector<ListenerAddress>& listeners = {});
std::string nft_unlock(const std::string& table);

// What such a table holds of connections and listeners, by set.
struct NftKeys {
  std::string set;
  std::vector<std::string> keys;
};
std::vector<NftKeys> nft_keys(const std::vector<ConnectionAddresses>& connections,
                              const std::vector<ListenerAddress>& listeners);
// They pass from now on; all of them have to be there.
std::string nft_let_pass(const std::string& table, const std::vector<NftKeys>& keys);

// Of an answer to NFT_MSG_GETTABLE: its name. Of one to NFT_MSG_GETSETELEM: the keys. Both from
// their attributes.
std::string nft_table_name(std::string_view table);
std::vector<std::string> nft_listed_keys(std::string_view elements);

// Has the kernel do it, whole or not at all; 0 or an errno. Allocates nothing.
int commit_nft(int netlink, const char* transaction, size_t size);

}  // namespace ncr
