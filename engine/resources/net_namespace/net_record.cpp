// Attributes as records (engine, root task). Pure.
#include "engine/resources/net_namespace/net_record.h"

#include <linux/netlink.h>

#include <algorithm>

namespace ncr::net_namespace {
namespace {

constexpr size_t kMostBytes = 16 * 1024;  // of one attribute: a route with hundreds of next hops

uint16_t plain(uint32_t type) { return static_cast<uint16_t>(type & NLA_TYPE_MASK); }

}  // namespace

bool knows(Types types, uint32_t type) {
  return type <= UINT16_MAX && std::find(types.begin(), types.end(), plain(type)) != types.end();
}

void keep(std::string_view attributes, Types types, Repeated<schema::NetAttribute>* record) {
  netlink::Attributes walk(attributes);
  netlink::Attribute attribute;
  while (walk.next(&attribute)) {
    if (!knows(types, attribute.type)) continue;
    schema::NetAttribute* kept = record->Add();
    kept->set_type(attribute.type | uint32_t{attribute.flags});
    kept->set_value(attribute.value.data(), attribute.value.size());
  }
}

void put(const Repeated<schema::NetAttribute>& record, netlink::Request& request) {
  for (const schema::NetAttribute& attribute : record)
    request.put(static_cast<uint16_t>(attribute.type()), attribute.value());
}

Result<> check(const Repeated<schema::NetAttribute>& record, Types types, const char* what) {
  for (const schema::NetAttribute& attribute : record) {
    if (!knows(types, attribute.type()))
      return Error::malformed(
          strf("%s: attribute %u is none that is kept", what, attribute.type()));
    if (attribute.value().size() > kMostBytes)
      return Error::malformed(
          strf("%s: attribute %u has %zu bytes", what, attribute.type(), attribute.value().size()));
  }
  return {};
}

const std::string* find(const Repeated<schema::NetAttribute>& record, uint16_t type) {
  for (const schema::NetAttribute& attribute : record)
    if (plain(attribute.type()) == type) return &attribute.value();
  return nullptr;
}

uint32_t find_u32(const Repeated<schema::NetAttribute>& record, uint16_t type) {
  const std::string* value = find(record, type);
  return value == nullptr ? 0 : netlink::Attribute{type, *value, 0}.u32();
}

void set(Repeated<schema::NetAttribute>* record, uint16_t type, std::string value) {
  for (schema::NetAttribute& attribute : *record)
    if (plain(attribute.type()) == type) return attribute.set_value(std::move(value));
  schema::NetAttribute* added = record->Add();
  added->set_type(type);
  added->set_value(std::move(value));
}

void drop(Repeated<schema::NetAttribute>* record, uint16_t type) {
  for (int i = record->size() - 1; i >= 0; i--)
    if (plain(record->Get(i).type()) == type) record->DeleteSubrange(i, 1);
}

}  // namespace ncr::net_namespace
