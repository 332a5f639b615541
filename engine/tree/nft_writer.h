// How messages of nf_tables are written: one datagram, messages between BATCH_BEGIN and BATCH_END,
// each with attributes in attributes. Numbers in attributes are big-endian; keys of a set are laid
// out as registers are, every part padded to four bytes. (engine and coordinator)
#pragma once

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>
#include <string>

namespace ncr::nft {

inline constexpr uint32_t kFirstSequence = 1;
inline constexpr uint32_t kAckedSequence = 2;

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

  // Of the messages that follow.
  void set_family(uint8_t family) { family_ = family; }

  // The last message before finish() is the one that is answered.
  template <class F>
  void message(uint16_t type, int flags, F fill) {
    begin((NFNL_SUBSYS_NFTABLES << 8) | type, flags, family_, 0);
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
  uint8_t family_ = NFPROTO_INET;
};

// Where packets meet rules: at a hook (NF_*), in the order of priorities.
inline void add_filter_chain(Transaction& out, const std::string& table, const char* name,
                             uint32_t hook, int priority) {
  out.message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, [&](Attributes put) {
    put.text(NFTA_CHAIN_TABLE, table);
    put.text(NFTA_CHAIN_NAME, name);
    put.nest(NFTA_CHAIN_HOOK, [&] {
      put.number(NFTA_HOOK_HOOKNUM, hook);
      put.number(NFTA_HOOK_PRIORITY, static_cast<uint32_t>(priority));
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
    compare(comparison, value, size);
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
  // A packet whose registers are in the set is dropped.
  void drop_if_in(const char* set, uint32_t set_id) {
    add("lookup", [&] {
      put_.text(NFTA_LOOKUP_SET, set);
      put_.number(NFTA_LOOKUP_SREG, NFT_REG32_00);
      put_.number(NFTA_LOOKUP_SET_ID, set_id);
    });
    decide(NF_DROP);
  }
  void decide(uint32_t verdict) {
    add("immediate", [&] {
      put_.number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
      put_.nest(NFTA_IMMEDIATE_DATA, [&] {
        put_.nest(NFTA_DATA_VERDICT, [&] { put_.number(NFTA_VERDICT_CODE, verdict); });
      });
    });
  }
  // From the first register on.
  void load_zeroes(uint32_t size) {
    const std::string zeroes(size, '\0');
    add("immediate", [&] {
      put_.number(NFTA_IMMEDIATE_DREG, NFT_REG32_00);
      put_.nest(NFTA_IMMEDIATE_DATA, [&] { put_.bytes(NFTA_DATA_VALUE, zeroes.data(), size); });
    });
  }
  // The first packet of a TCP connection.
  void expect_syn() {
    constexpr uint8_t kFinSynRstAck = 0x17, kSyn = 0x02, kNothing = 0;
    load(0, NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1);
    add("bitwise", [&] {
      put_.number(NFTA_BITWISE_SREG, NFT_REG32_00);
      put_.number(NFTA_BITWISE_DREG, NFT_REG32_00);
      put_.number(NFTA_BITWISE_LEN, 1);
      put_.nest(NFTA_BITWISE_MASK, [&] { put_.bytes(NFTA_DATA_VALUE, &kFinSynRstAck, 1); });
      put_.nest(NFTA_BITWISE_XOR, [&] { put_.bytes(NFTA_DATA_VALUE, &kNothing, 1); });
    });
    compare(NFT_CMP_EQ, &kSyn, sizeof kSyn);
  }
  // A socket here waits for the packet: the expression breaks off if there is none, whatever it is
  // asked (nft_socket_eval, 4.18).
  void expect_a_socket() {
    add("socket", [&] {
      put_.number(NFTA_SOCKET_KEY, NFT_SOCKET_TRANSPARENT);
      put_.number(NFTA_SOCKET_DREG, NFT_REG32_00);
    });
  }

 private:
  void compare(uint32_t comparison, const void* value, size_t size) {
    add("cmp", [&] {
      put_.number(NFTA_CMP_SREG, NFT_REG32_00);
      put_.number(NFTA_CMP_OP, comparison);
      put_.nest(NFTA_CMP_DATA, [&] { put_.bytes(NFTA_DATA_VALUE, value, size); });
    });
  }
  template <class F>
  void add(const char* name, F fill) {
    put_.nest(NFTA_LIST_ELEM, [&] {
      put_.text(NFTA_EXPR_NAME, name);
      put_.nest(NFTA_EXPR_DATA, fill);
    });
  }

  Attributes put_;
};

}  // namespace ncr::nft
