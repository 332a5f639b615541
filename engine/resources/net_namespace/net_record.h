// Between netlink's attributes and those of a record: only types that a room knows pass, both ways.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <span>

#include "engine/base/netlink.h"
#include "net_namespace.pb.h"

namespace ncr::net_namespace {

template <class T>
using Repeated = google::protobuf::RepeatedPtrField<T>;

using Types = std::span<const uint16_t>;
bool knows(Types types, uint32_t type);  // NLA_F_NESTED is no part of a type

// What of these attributes is known, in their order.
void keep(std::string_view attributes, Types types, Repeated<schema::NetAttribute>* record);
void put(const Repeated<schema::NetAttribute>& record, netlink::Request& request);

// What a record must be before it goes to the kernel: kMalformed names `what`.
Result<> check(const Repeated<schema::NetAttribute>& record, Types types, const char* what);

const std::string* find(const Repeated<schema::NetAttribute>& record, uint16_t type);
uint32_t find_u32(const Repeated<schema::NetAttribute>& record, uint16_t type);  // 0: not there
void set(Repeated<schema::NetAttribute>* record, uint16_t type, std::string value);
void drop(Repeated<schema::NetAttribute>* record, uint16_t type);

template <class T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// The front of the bytes; zeros where they are too short.
template <class T>
T header_of(std::string_view bytes) {
  T value{};
  memcpy(&value, bytes.data(), bytes.size() < sizeof value ? bytes.size() : sizeof value);
  return value;
}

}  // namespace ncr::net_namespace
