// Links of a tree that lead to the caller's network namespace.
#pragma once

#include "engine/request.h"
#include "engine/resources/net_namespace/net_record.h"

namespace ncr::net_namespace {

// "veth1234@br0": what a request gives in the place of what was outside.
struct Outside {
  std::string name;
  std::string bridge;  // empty: none
};
Outside parse_outside(std::string_view value);  // pure

bool leads_outside(const schema::NetNamespace& record);  // pure
// Pure: whether the request names something for every link that leads outside.
Result<> check_outside(const schema::NetNamespace& record, const RestoreRequest& request);

// Restore, coordinator, in the caller's namespace: makes them, and puts their inner ends into
// `target`. They go away with it.
Result<> bring_links(const schema::NetNamespace& record, const RestoreRequest& request,
                     const Fd& target);

}  // namespace ncr::net_namespace
