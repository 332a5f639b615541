// See sets.h. IPSET_CMD_LIST tells a set in one message or in several, the first of which says how
// it was made; IPSET_CMD_CREATE and IPSET_CMD_ADD take the same attributes
// (include/uapi/linux/netfilter/ipset/ip_set.h). Sets of sets come last.
#include "engine/resources/net_namespace/sets.h"

#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <unistd.h>

#include <string_view>

namespace ncr::net_namespace {
namespace {

constexpr const char* kModule = "/sys/module/ip_set";  // a question would load it
constexpr std::string_view kSetOfSets = "list:set";
constexpr size_t kMostSets = 65'534;
constexpr size_t kMostElements = 16 << 20;
constexpr size_t kBytesAtOnce = 16 << 10;  // an attribute is no longer than 64 KiB

// Not here: CADT_LINENO, and what only the kernel tells (ELEMENTS, REFERENCES, MEMSIZE).
constexpr uint16_t kSetTypes[] = {1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 17, 18, 19, 20, 21, 22, 23};
constexpr uint16_t kElementTypes[] = {1,  2,  3,  4,  5,  6,  7,  8,  10, 11, 12, 17,
                                      18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29};

netlink::Request command(uint8_t what, unsigned flags, uint32_t family = 0) {
  netlink::Request request(static_cast<uint16_t>(NFNL_SUBSYS_IPSET << 8 | what), flags);
  request.header(nfgenmsg{static_cast<uint8_t>(family), NFNETLINK_V0, 0});
  request.put_value(IPSET_ATTR_PROTOCOL, uint8_t{IPSET_PROTOCOL});
  return request;
}

uint32_t byte_of(std::string_view attributes, uint16_t type) {
  const std::string_view value = netlink::Attributes::find(attributes, type).value;
  return value.empty() ? 0 : static_cast<uint8_t>(value.front());
}

// Addresses stand in nested attributes. They are told without the flag that says in which order
// their bytes are, and not taken without it (ip_set_get_ipaddr4,
// net/netfilter/ipset/ip_set_core.c).
void mark_order(Repeated<schema::NetAttribute>* attributes) {
  for (schema::NetAttribute& attribute : *attributes) {
    if ((attribute.type() & NLA_F_NESTED) == 0) continue;
    netlink::Request marked(0, 0);
    const size_t empty = marked.finish(0, 0).size();
    netlink::Attributes walk(attribute.value());
    for (netlink::Attribute address; walk.next(&address);)
      marked.put(static_cast<uint16_t>(address.type | NLA_F_NET_BYTEORDER), address.value);
    attribute.set_value(marked.finish(0, 0).substr(empty));
  }
}

void read_head(std::string_view attributes, schema::NetSet* set) {
  using netlink::Attributes;
  set->set_type(std::string(Attributes::find(attributes, IPSET_ATTR_TYPENAME).text()));
  set->set_revision(byte_of(attributes, IPSET_ATTR_REVISION));
  set->set_family(byte_of(attributes, IPSET_ATTR_FAMILY));
  keep(Attributes::find(attributes, IPSET_ATTR_DATA).value, kSetTypes, set->mutable_data());
  mark_order(set->mutable_data());
}

void read_elements(std::string_view list, schema::NetSet* set) {
  netlink::Attributes walk(list);
  for (netlink::Attribute element; walk.next(&element);) {
    if (element.type != IPSET_ATTR_DATA) continue;
    schema::NetSetElement* kept = set->add_elements();
    keep(element.value, kElementTypes, kept->mutable_attributes());
    mark_order(kept->mutable_attributes());
  }
}

Result<> make(netlink::Socket& socket, const schema::NetSet& set) {
  netlink::Request request = command(IPSET_CMD_CREATE, NLM_F_CREATE | NLM_F_EXCL, set.family());
  request.put_text(IPSET_ATTR_SETNAME, set.name()).put_text(IPSET_ATTR_TYPENAME, set.type());
  request.put_value(IPSET_ATTR_REVISION, static_cast<uint8_t>(set.revision()));
  request.put_value(IPSET_ATTR_FAMILY, static_cast<uint8_t>(set.family()));
  const size_t data = request.nest(IPSET_ATTR_DATA | NLA_F_NESTED);
  put(set.data(), request);
  request.end(data);
  return socket.run(request, "make");
}

// Some elements from `at` on, which moves behind them.
Result<> fill_some(netlink::Socket& socket, const schema::NetSet& set, int* at) {
  netlink::Request request = command(IPSET_CMD_ADD, 0, set.family());
  request.put_text(IPSET_ATTR_SETNAME, set.name()).put_value(IPSET_ATTR_LINENO, uint32_t{0});
  const size_t list = request.nest(IPSET_ATTR_ADT | NLA_F_NESTED);
  for (size_t bytes = 0; *at < set.elements_size() && bytes < kBytesAtOnce; ++*at) {
    const schema::NetSetElement& element = set.elements(*at);
    const size_t data = request.nest(IPSET_ATTR_DATA | NLA_F_NESTED);
    put(element.attributes(), request);
    request.end(data);
    bytes += element.ByteSizeLong() + 64;
  }
  request.end(list);
  return socket.run(request, "fill");
}

Result<> build_one(netlink::Socket& socket, const schema::NetSet& set) {
  TRY(make(socket, set));
  for (int at = 0; at < set.elements_size();) TRY(fill_some(socket, set, &at));
  return {};
}

}  // namespace

Result<> dump_sets(Repeated<schema::NetSet>* sets) {
  if (::access(kModule, F_OK) != 0) return {};
  netlink::Socket socket = TRY(netlink::Socket::open(NETLINK_NETFILTER));
  netlink::Request request = command(IPSET_CMD_LIST, 0);
  for (const netlink::Reply& reply : TRY(socket.list(request, "sets of addresses (ipset)"))) {
    const std::string_view attributes = reply.attributes(sizeof(nfgenmsg));
    using netlink::Attributes;
    const std::string name(Attributes::find(attributes, IPSET_ATTR_SETNAME).text());
    if (Attributes::has(attributes, IPSET_ATTR_TYPENAME)) {
      sets->Add()->set_name(name);
      read_head(attributes, &(*sets)[sets->size() - 1]);
    }
    if (sets->empty() || (*sets)[sets->size() - 1].name() != name)
      return Error(ErrorCode::kSystem, "ipset: a set without a beginning");
    read_elements(Attributes::find(attributes, IPSET_ATTR_ADT).value, &(*sets)[sets->size() - 1]);
  }
  return {};
}

Result<> check_sets(const Repeated<schema::NetSet>& sets) {
  if (static_cast<size_t>(sets.size()) > kMostSets)
    return Error::malformed("too many sets of addresses");
  for (const schema::NetSet& set : sets) {
    if (set.name().empty() || set.name().size() >= IPSET_MAXNAMELEN || set.type().empty() ||
        set.type().size() >= IPSET_MAXNAMELEN || set.family() > UINT8_MAX ||
        set.revision() > UINT8_MAX || static_cast<size_t>(set.elements_size()) > kMostElements)
      return Error::malformed("a set of addresses that is not one");
    TRY(check(set.data(), kSetTypes, "set of addresses"));
    for (const schema::NetSetElement& element : set.elements())
      TRY(check(element.attributes(), kElementTypes, "element of a set of addresses"));
  }
  return {};
}

Result<> build_sets(const Repeated<schema::NetSet>& sets) {
  if (sets.empty()) return {};
  netlink::Socket socket = TRY(netlink::Socket::open(NETLINK_NETFILTER));
  for (const bool of_sets : {false, true})
    for (const schema::NetSet& set : sets)
      if ((set.type() == kSetOfSets) == of_sets)
        TRY_WHILE(build_one(socket, set), "ipset %s", set.name().c_str());
  return {};
}

}  // namespace ncr::net_namespace
