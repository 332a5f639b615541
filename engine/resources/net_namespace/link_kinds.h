// The kinds of links that can be made again, and what of their settings goes into a record. Pure.
#pragma once

#include <string_view>

#include "engine/resources/net_namespace/net_record.h"

namespace ncr::net_namespace {

struct LinkKind {
  const char* name;
  uint16_t last_data = 0;    // IFLA_INFO_DATA: types 1 to this
  Types not_data = {};       // of these the kernel only tells, or they are another's
  bool needs_lower = false;  // stands on another link
  bool set_later = false;    // made first; what differs then is set
};

const LinkKind* find_kind(std::string_view name);  // null: cannot be made again
bool keeps_data(const LinkKind& kind, uint32_t type);

// Settings of a port, by the kind of its master (IFLA_INFO_SLAVE_KIND); empty for others.
Types port_types(std::string_view port_kind);

// IFLA_* of every link.
extern const Types kLinkTypes;

}  // namespace ncr::net_namespace
