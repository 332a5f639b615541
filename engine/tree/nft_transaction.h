// Transactions of nf_tables (linux/netfilter/nf_tables.h) that keep the packets of some connections
// out, and let them pass again. Pure, but for commit_nft().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ncr {

struct ConnectionAddresses {  // struct sockaddr_in or sockaddr_in6 each
  std::string local;
  std::string peer;
};

// Packets that carry it pass a lock: those that a restore makes itself (SO_MARK).
constexpr uint32_t kLockPassMark = 0x6e637274;

enum class NftTable {
  kOurs,   // goes away when the netlink socket that made it is closed (NFT_TABLE_F_OWNER, 5.12)
  kStays,  // until somebody deletes it
};

// A table "inet NAME" that drops what comes in and goes out for these connections. One that are not
// of IPv4 or IPv6 are left out.
std::string nft_lock(const std::string& table, NftTable kind,
                     const std::vector<ConnectionAddresses>& connections);
std::string nft_unlock(const std::string& table);

// Has the kernel do it, whole or not at all; 0 or an errno. Allocates nothing.
int commit_nft(int netlink, const char* transaction, size_t size);

}  // namespace ncr
