// See nft_transaction.h. A transaction is one datagram: messages between BATCH_BEGIN and BATCH_END,
// each with attributes in attributes. Numbers in attributes are big-endian; keys of a set are laid
// out as registers are, every part padded to four bytes. (engine and coordinator)
#include "engine/tree/nft_transaction.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "engine/base/call_code.h"
#include "engine/base/netlink.h"

namespace ncr {
namespace {

constexpr uint32_t kFirstSequence = 1;
constexpr uint32_t kAckedSequence = 2;
constexpr size_t kKeysPerMessage = 500;  // the length of an attribute has 16 bits
constexpr int kBeforeAll = -400;         // priority of the chains: before connection tracking

class Attributes {
 public:
  explicit Attributes(std::string& out) : out_(out) {}

  void bytes(uint16_t type, const void* data, size_t size) {
    header(type, size);
    out_.append(static_cast<const char*>(data), size);
    pad();
  }
  void text(uint16_t type, const std::string& value) {
    bytes(type, value.c_str(), value.size() + 1);
  }
  void number(uint16_t type, uint32_t value) {
    const uint32_t wire = htonl(value);
    bytes(type, &wire, sizeof wire);
  }
  template <class F>
  void nest(uint16_t type, F fill) {
    const size_t at = out_.size();
    header(type | NLA_F_NESTED, 0);
    fill();
    const auto length = static_cast<uint16_t>(out_.size() - at);
    memcpy(out_.data() + at, &length, sizeof length);
  }

 private:
  void header(int type, size_t size) {
    const nlattr attribute{static_cast<uint16_t>(NLA_HDRLEN + size), static_cast<uint16_t>(type)};
    out_.append(reinterpret_cast<const char*>(&attribute), sizeof attribute);
  }
  void pad() { out_.resize(NLA_ALIGN(out_.size())); }

  std::string& out_;
};

class Transaction {
 public:
  Transaction() { control(NFNL_MSG_BATCH_BEGIN); }

  // The last message before finish() is the one that is answered.
  template <class F>
  void message(uint16_t type, int flags, F fill) {
    begin((NFNL_SUBSYS_NFTABLES << 8) | type, flags, NFPROTO_INET, 0);
    fill(Attributes(bytes_));
    end();
  }

  std::string finish() {
    nlmsghdr header;
    memcpy(&header, bytes_.data() + last_, sizeof header);
    header.nlmsg_flags |= NLM_F_ACK;
    header.nlmsg_seq = kAckedSequence;
    memcpy(bytes_.data() + last_, &header, sizeof header);
    control(NFNL_MSG_BATCH_END);
    return std::move(bytes_);
  }

 private:
  void control(int type) {
    begin(type, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    end();
  }
  void begin(int type, int flags, int family, uint16_t resource) {
    last_ = bytes_.size();
    const nlmsghdr header{0, static_cast<uint16_t>(type),
                          static_cast<uint16_t>(NLM_F_REQUEST | flags), kFirstSequence, 0};
    const nfgenmsg generic{static_cast<uint8_t>(family), NFNETLINK_V0, htons(resource)};
    bytes_.append(reinterpret_cast<const char*>(&header), sizeof header);
    bytes_.append(reinterpret_cast<const char*>(&generic), sizeof generic);
  }
  void end() {
    const auto length = static_cast<uint32_t>(bytes_.size() - last_);
    memcpy(bytes_.data() + last_, &length, sizeof length);
  }

  std::string bytes_;
  size_t last_ = 0;
};

// What differs between the two versions of IP.
struct Version {
  const char* set;
  uint32_t set_id;
  uint8_t protocol;       // NFPROTO_*
  uint32_t address_size;  // bytes
  uint32_t source;        // offset in the network header; the destination follows it
  uint32_t data_type;     // of an address, as nft numbers it
};
constexpr Version kVersions[] = {{"ipv4", 1, NFPROTO_IPV4, 4, 12, 7},
                                 {"ipv6", 2, NFPROTO_IPV6, 16, 8, 8}};
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

uint32_t key_size(const Version& version) {
  return 2 * (version.address_size + static_cast<uint32_t>(kPortSize));
}

void add_set(Transaction& out, const std::string& table, const Version& version) {
  const uint32_t end_type = version.data_type << 6 | kServiceType;
  out.message(NFT_MSG_NEWSET, NLM_F_CREATE, [&](Attributes put) {
    put.text(NFTA_SET_TABLE, table);
    put.text(NFTA_SET_NAME, version.set);
    put.number(NFTA_SET_FLAGS, 0);
    put.number(NFTA_SET_KEY_TYPE, end_type << 12 | end_type);
    put.number(NFTA_SET_KEY_LEN, key_size(version));
    put.number(NFTA_SET_ID, version.set_id);
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

void add_chain(Transaction& out, const std::string& table, const Chain& chain) {
  out.message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, [&](Attributes put) {
    put.text(NFTA_CHAIN_TABLE, table);
    put.text(NFTA_CHAIN_NAME, chain.name);
    put.nest(NFTA_CHAIN_HOOK, [&] {
      put.number(NFTA_HOOK_HOOKNUM, chain.hook);
      put.number(NFTA_HOOK_PRIORITY, static_cast<uint32_t>(kBeforeAll));
    });
    put.text(NFTA_CHAIN_TYPE, "filter");
  });
}

// The expressions of a rule.
class Expressions {
 public:
  explicit Expressions(Attributes put) : put_(put) {}

  void expect(uint32_t meta, uint32_t comparison, const void* value, size_t size) {
    add("meta", [&] {
      put_.number(NFTA_META_DREG, NFT_REG32_00);
      put_.number(NFTA_META_KEY, meta);
    });
    add("cmp", [&] {
      put_.number(NFTA_CMP_SREG, NFT_REG32_00);
      put_.number(NFTA_CMP_OP, comparison);
      put_.nest(NFTA_CMP_DATA, [&] { put_.bytes(NFTA_DATA_VALUE, value, size); });
    });
  }
  // Registers are of four bytes each; `at` counts bytes.
  void load(size_t at, uint32_t base, uint32_t offset, uint32_t size) {
    add("payload", [&] {
      put_.number(NFTA_PAYLOAD_DREG, static_cast<uint32_t>(NFT_REG32_00 + at / 4));
      put_.number(NFTA_PAYLOAD_BASE, base);
      put_.number(NFTA_PAYLOAD_OFFSET, offset);
      put_.number(NFTA_PAYLOAD_LEN, size);
    });
  }
  void drop_if_in(const Version& version) {
    add("lookup", [&] {
      put_.text(NFTA_LOOKUP_SET, version.set);
      put_.number(NFTA_LOOKUP_SREG, NFT_REG32_00);
      put_.number(NFTA_LOOKUP_SET_ID, version.set_id);
    });
    add("immediate", [&] {
      put_.number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
      put_.nest(NFTA_IMMEDIATE_DATA, [&] {
        put_.nest(NFTA_DATA_VERDICT, [&] { put_.number(NFTA_VERDICT_CODE, NF_DROP); });
      });
    });
  }

 private:
  template <class F>
  void add(const char* name, F fill) {
    put_.nest(NFTA_LIST_ELEM, [&] {
      put_.text(NFTA_EXPR_NAME, name);
      put_.nest(NFTA_EXPR_DATA, fill);
    });
  }

  Attributes put_;
};

// Loads address and port of one end.
void load_end(Expressions& rule, const Version& version, bool source, size_t at) {
  const uint32_t address = version.source + (source ? 0 : version.address_size);
  rule.load(at, NFT_PAYLOAD_NETWORK_HEADER, address, version.address_size);
  rule.load(at + version.address_size, NFT_PAYLOAD_TRANSPORT_HEADER, source ? 0 : 2, 2);
}

void add_rule(Transaction& out, const std::string& table, const Chain& chain,
              const Version& version) {
  constexpr uint8_t kTcp = IPPROTO_TCP;
  out.message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, [&](Attributes put) {
    put.text(NFTA_RULE_TABLE, table);
    put.text(NFTA_RULE_CHAIN, chain.name);
    put.nest(NFTA_RULE_EXPRESSIONS, [&] {
      Expressions rule(put);
      rule.expect(NFT_META_NFPROTO, NFT_CMP_EQ, &version.protocol, sizeof version.protocol);
      rule.expect(NFT_META_L4PROTO, NFT_CMP_EQ, &kTcp, sizeof kTcp);
      rule.expect(NFT_META_MARK, NFT_CMP_NEQ, &kLockPassMark, sizeof kLockPassMark);
      load_end(rule, version, chain.local_is_source, 0);
      load_end(rule, version, !chain.local_is_source, version.address_size + kPortSize);
      rule.drop_if_in(version);
    });
  });
}

}  // namespace

std::string nft_lock(const std::string& table, NftTable kind,
                     const std::vector<ConnectionAddresses>& connections) {
  constexpr uint32_t kOwnerFlag = 0x2;  // NFT_TABLE_F_OWNER
  Transaction out;
  out.message(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, [&](Attributes put) {
    put.text(NFTA_TABLE_NAME, table);
    put.number(NFTA_TABLE_FLAGS, kind == NftTable::kOurs ? kOwnerFlag : 0);
  });
  for (const Version& version : kVersions) {
    add_set(out, table, version);
    put_keys(out, NFT_MSG_NEWSETELEM, table, {version.set, keys_of(version, connections)},
             version.set_id);
  }
  for (const Chain& chain : kChains) {
    add_chain(out, table, chain);
    for (const Version& version : kVersions) add_rule(out, table, chain, version);
  }
  return out.finish();
}

std::string nft_unlock(const std::string& table) {
  Transaction out;
  out.message(NFT_MSG_DELTABLE, 0, [&](Attributes put) { put.text(NFTA_TABLE_NAME, table); });
  return out.finish();
}

std::vector<NftKeys> nft_keys(const std::vector<ConnectionAddresses>& connections) {
  std::vector<NftKeys> sets;
  for (const Version& version : kVersions)
    sets.push_back({version.set, keys_of(version, connections)});
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
    if (header.nlmsg_seq == kAckedSequence) return 0;
  }
}

}  // namespace ncr
