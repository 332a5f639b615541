// Rules for packets: nftables, and the older tables of iptables and its kin.
#pragma once

#include <string_view>

#include "engine/resources/net_namespace/net_links.h"

namespace ncr::net_namespace {

// Dump, on a thread in the namespace. Starts nft(8) or iptables-save(8) only if there is something.
Result<> dump_firewall(schema::NetNamespace* record, Refusals* refusals);
Result<> check_firewall(const schema::NetNamespace& record);           // pure
bool has_rules(const schema::NetNamespace& record);                    // pure
std::vector<uint8_t> families_of(const schema::NetNamespace& record);  // of close_network(); pure
// Restore, in the namespace.
Result<> build_firewall(const schema::NetNamespace& record);

// Pure: what nft(8) lists, without tables of our own.
std::string without_locks(const std::string& rules);
// Pure. The word for a family in nft(8); null if it has none.
const char* nft_family(uint8_t family);
bool plain_name(std::string_view name);  // nft(8) reads it as one word

}  // namespace ncr::net_namespace
