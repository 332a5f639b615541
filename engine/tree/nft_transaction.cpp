// See nft_transaction.h. (engine and coordinator)
#include "engine/tree/nft_transaction.h"

#include <netinet/in.h>

#include <algorithm>
#include <set>

#include "engine/base/call_code.h"
#include "engine/base/netlink.h"
#include "engine/tree/nft_writer.h"

namespace ncr {
namespace {

using nft::Attributes;
using nft::Expressions;
using nft::Transaction;

constexpr size_t kKeysPerMessage = 500;  // the length of an attribute has 16 bits
constexpr int kBeforeAll = -400;         // priority of the chains: before connection tracking

// What differs between the two versions of IP.
struct Version {
  const char* connections;  // names of sets
  uint32_t connections_id;
  const char* listeners;
  uint32_t listeners_id;
  uint8_t protocol;       // NFPROTO_*
  uint32_t address_size;  // bytes
  uint32_t source;        // offset in the network header; the destination follows it
  uint32_t data_type;     // of an address, as nft numbers it
};
constexpr Version kVersions[] = {{"ipv4", 1, "listen4", 3, NFPROTO_IPV4, 4, 12, 7},
                                 {"ipv6", 2, "listen6", 4, NFPROTO_IPV6, 16, 8, 8}};
constexpr uint32_t kServiceType = 13;  // inet_service, as nft numbers it
constexpr size_t kPortSize = 4;        // padded

struct End {
  std::string address;  // 4 or 16 bytes
  uint16_t port = 0;    // big-endian
};

bool is_mapped(const in6_addr& address) { return IN6_IS_ADDR_V4MAPPED(&address); }

End end_of(const std::string& bytes) {
  sockaddr_in6 six{};
  if (bytes.size() >= sizeof(sockaddr_in6)) {
    memcpy(&six, bytes.data(), sizeof six);
    const auto* raw = reinterpret_cast<const char*>(&six.sin6_addr);
    if (is_mapped(six.sin6_addr)) return {std::string(raw + 12, 4), six.sin6_port};
    return {std::string(raw, 16), six.sin6_port};
  }
  sockaddr_in four{};
  if (bytes.size() < sizeof four) return {};
  memcpy(&four, bytes.data(), sizeof four);
  return {std::string(reinterpret_cast<const char*>(&four.sin_addr), 4), four.sin_port};
}

void append_end(const End& end, std::string* key) {
  *key += end.address;
  key->append(reinterpret_cast<const char*>(&end.port), sizeof end.port);
  key->append(kPortSize - sizeof end.port, '\0');
}

// Local address and port, then the peer's.
std::vector<std::string> keys_of(const Version& version,
                                 const std::vector<ConnectionAddresses>& connections) {
  std::vector<std::string> keys;
  for (const ConnectionAddresses& connection : connections) {
    const End local = end_of(connection.local);
    const End peer = end_of(connection.peer);
    if (local.address.size() != version.address_size || peer.address.size() != local.address.size())
      continue;
    std::string key;
    append_end(local, &key);
    append_end(peer, &key);
    keys.push_back(std::move(key));
  }
  return keys;
}

// Address and port; no address stands for any.
std::vector<std::string> keys_of(const Version& version,
                                 const std::vector<ListenerAddress>& listeners) {
  std::set<std::string> keys;  // of a group of SO_REUSEPORT all have the same
  for (const ListenerAddress& listener : listeners) {
    End local = end_of(listener.local);
    const bool any = local.address == std::string(16, '\0');
    if (any && !listener.v6_only) local.address.resize(version.address_size);
    if (local.address.size() != version.address_size) continue;
    std::string key;
    append_end(local, &key);
    keys.insert(std::move(key));
  }
  return {keys.begin(), keys.end()};
}

// Of so many ends.
void add_set(Transaction& out, const std::string& table, const Version& version, const char* name,
             uint32_t id, uint32_t ends) {
  const uint32_t end_type = version.data_type << 6 | kServiceType;
  out.message(NFT_MSG_NEWSET, NLM_F_CREATE, [&](Attributes put) {
    put.text(NFTA_SET_TABLE, table);
    put.text(NFTA_SET_NAME, name);
    put.number(NFTA_SET_FLAGS, 0);
    put.number(NFTA_SET_KEY_TYPE, ends == 1 ? end_type : end_type << 12 | end_type);
    put.number(NFTA_SET_KEY_LEN, ends * (version.address_size + static_cast<uint32_t>(kPortSize)));
    put.number(NFTA_SET_ID, id);
  });
}

// `set_id`: 0 for a set that exists.
void put_keys(Transaction& out, uint16_t type, const std::string& table, const NftKeys& keys,
              uint32_t set_id) {
  for (size_t from = 0; from < keys.keys.size(); from += kKeysPerMessage) {
    const size_t to = std::min(keys.keys.size(), from + kKeysPerMessage);
    out.message(type, NLM_F_CREATE, [&](Attributes put) {
      put.text(NFTA_SET_ELEM_LIST_TABLE, table);
      put.text(NFTA_SET_ELEM_LIST_SET, keys.set);
      if (set_id != 0) put.number(NFTA_SET_ELEM_LIST_SET_ID, set_id);
      put.nest(NFTA_SET_ELEM_LIST_ELEMENTS, [&] {
        for (size_t i = from; i < to; i++)
          put.nest(NFTA_LIST_ELEM, [&] {
            put.nest(NFTA_SET_ELEM_KEY,
                     [&] { put.bytes(NFTA_DATA_VALUE, keys.keys[i].data(), keys.keys[i].size()); });
          });
      });
    });
  }
}

struct Chain {
  const char* name;
  uint32_t hook;
  bool local_is_source;
};
constexpr Chain kChains[] = {{"input", NF_INET_LOCAL_IN, false},
                             {"output", NF_INET_LOCAL_OUT, true}};

// Loads address and port of one end.
void load_end(Expressions& rule, const Version& version, bool source, size_t at) {
  const uint32_t address = version.source + (source ? 0 : version.address_size);
  rule.load(at, NFT_PAYLOAD_NETWORK_HEADER, address, version.address_size);
  rule.load(at + version.address_size, NFT_PAYLOAD_TRANSPORT_HEADER, source ? 0 : 2, 2);
}

template <class F>
void add_rule(Transaction& out, const std::string& table, const Chain& chain, F fill) {
  constexpr uint8_t kTcp = IPPROTO_TCP;
  out.message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, [&](Attributes put) {
    put.text(NFTA_RULE_TABLE, table);
    put.text(NFTA_RULE_CHAIN, chain.name);
    put.nest(NFTA_RULE_EXPRESSIONS, [&] {
      Expressions rule(put);
      rule.expect(NFT_META_L4PROTO, NFT_CMP_EQ, &kTcp, sizeof kTcp);
      fill(rule);
    });
  });
}

void drop_connections(Transaction& out, const std::string& table, const Chain& chain,
                      const Version& version) {
  add_rule(out, table, chain, [&](Expressions& rule) {
    rule.expect(NFT_META_NFPROTO, NFT_CMP_EQ, &version.protocol, sizeof version.protocol);
    rule.expect(NFT_META_MARK, NFT_CMP_NEQ, &kLockPassMark, sizeof kLockPassMark);
    load_end(rule, version, chain.local_is_source, 0);
    load_end(rule, version, !chain.local_is_source, version.address_size + kPortSize);
    rule.drop_if_in(version.connections, version.connections_id);
  });
}

// Listeners at the packet's own address, or at any.
void drop_new_clients(Transaction& out, const std::string& table, const Chain& chain,
                      const Version& version) {
  for (const bool any : {false, true})
    add_rule(out, table, chain, [&](Expressions& rule) {
      rule.expect(NFT_META_NFPROTO, NFT_CMP_EQ, &version.protocol, sizeof version.protocol);
      rule.expect_syn();
      load_end(rule, version, false, 0);
      if (any) rule.load_zeroes(version.address_size);
      rule.drop_if_in(version.listeners, version.listeners_id);
    });
}

void lock_listeners(Transaction& out, const std::string& table, NftTable kind) {
  const Chain& chain = kChains[0];
  if (kind == NftTable::kStays)
    add_rule(out, table, chain, [&](Expressions& rule) {
      rule.expect_syn();
      rule.expect_a_socket();
      rule.decide(NF_ACCEPT);
    });
  for (const Version& version : kVersions) drop_new_clients(out, table, chain, version);
}

}  // namespace

std::string nft_lock(const std::string& table, NftTable kind,
                     const std::vector<ConnectionAddresses>& connections,
                     const std::vector<ListenerAddress>& listeners) {
  constexpr uint32_t kOwnerFlag = 0x2;  // NFT_TABLE_F_OWNER
  Transaction out;
  out.message(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, [&](Attributes put) {
    put.text(NFTA_TABLE_NAME, table);
    put.number(NFTA_TABLE_FLAGS, kind == NftTable::kOurs ? kOwnerFlag : 0);
  });
  for (const Version& version : kVersions) {
    add_set(out, table, version, version.connections, version.connections_id, 2);
    add_set(out, table, version, version.listeners, version.listeners_id, 1);
    put_keys(out, NFT_MSG_NEWSETELEM, table, {version.connections, keys_of(version, connections)},
             version.connections_id);
    put_keys(out, NFT_MSG_NEWSETELEM, table, {version.listeners, keys_of(version, listeners)},
             version.listeners_id);
  }
  for (const Chain& chain : kChains) {
    nft::add_filter_chain(out, table, chain.name, chain.hook, kBeforeAll);
    for (const Version& version : kVersions) drop_connections(out, table, chain, version);
  }
  if (!listeners.empty()) lock_listeners(out, table, kind);
  return out.finish();
}

std::string nft_unlock(const std::string& table) {
  Transaction out;
  out.message(NFT_MSG_DELTABLE, 0, [&](Attributes put) { put.text(NFTA_TABLE_NAME, table); });
  return out.finish();
}

std::vector<NftKeys> nft_keys(const std::vector<ConnectionAddresses>& connections,
                              const std::vector<ListenerAddress>& listeners) {
  std::vector<NftKeys> sets;
  for (const Version& version : kVersions) {
    sets.push_back({version.connections, keys_of(version, connections)});
    sets.push_back({version.listeners, keys_of(version, listeners)});
  }
  return sets;
}

std::string nft_let_pass(const std::string& table, const std::vector<NftKeys>& keys) {
  Transaction out;
  for (const NftKeys& set : keys) put_keys(out, NFT_MSG_DELSETELEM, table, set, 0);
  return out.finish();
}

std::string nft_table_name(std::string_view table) {
  return std::string(netlink::Attributes::find(table, NFTA_TABLE_NAME).text());
}

std::vector<std::string> nft_listed_keys(std::string_view elements) {
  std::vector<std::string> keys;
  netlink::Attributes list(netlink::Attributes::find(elements, NFTA_SET_ELEM_LIST_ELEMENTS).value);
  for (netlink::Attribute element; list.next(&element);) {
    const netlink::Attribute key = netlink::Attributes::find(element.value, NFTA_SET_ELEM_KEY);
    keys.emplace_back(netlink::Attributes::find(key.value, NFTA_DATA_VALUE).value);
  }
  return keys;
}

// The kernel answers before send() returns: with the error of any message, or with the
// acknowledgement of the last one once all is committed (nfnetlink_rcv_batch).
int commit_nft(int netlink, const char* transaction, size_t size) {
  alignas(nlmsghdr) char answer[8192];
  while (::recv(netlink, answer, sizeof answer, MSG_DONTWAIT) > 0) continue;
  int failed = sys::code_of(::send(netlink, transaction, size, 0));
  if (failed != 0) return failed;
  for (;;) {
    const ssize_t got = ::recv(netlink, answer, sizeof answer, MSG_DONTWAIT);
    failed = sys::code_of(got);
    if (failed != 0) return failed;
    nlmsghdr header;
    nlmsgerr error;
    if (static_cast<size_t>(got) < sizeof header + sizeof error) return EPROTO;
    memcpy(&header, answer, sizeof header);
    memcpy(&error, answer + sizeof header, sizeof error);
    if (header.nlmsg_type != NLMSG_ERROR) continue;
    if (error.error != 0) return -error.error;
    if (header.nlmsg_seq == nft::kAckedSequence) return 0;
  }
}

}  // namespace ncr
