#pragma once

#include <string>

#include "engine/resources/room.h"

namespace ncr::device {

// A node whose driver keeps nothing per description.
bool is_stateless(mode_t mode, dev_t device);

struct Refusal {
  std::string name;
  std::string way_out;
};
Refusal refuse(mode_t mode, dev_t device);

}  // namespace ncr::device
