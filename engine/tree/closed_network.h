// A network namespace whose rules for packets are not there yet: until they are, nothing comes in,
// goes out or passes through, but on its loopback. See docs/adr/0012.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/result.h"

namespace ncr {

// Of the network namespace that the calling thread is in. It must end with the tree: what closes it
// stays until it is opened. `families`: NFPROTO_INET, and those beside it that the rules are of.
// After an error it is open.
Result<> close_network(const std::vector<uint8_t>& families);
Result<bool> is_network_closed();
Result<> open_network(const std::vector<uint8_t>& families);

}  // namespace ncr
