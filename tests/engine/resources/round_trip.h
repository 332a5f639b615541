// Descriptors of this very process dumped by their rooms, closed, and made again at the same
// numbers: what a checkpoint does to them, without one.
#pragma once

#include <string>
#include <vector>

#include "engine/request.h"

namespace ncr::test {

struct RoundTrip {
  std::string error;              // empty: all well
  std::vector<Blocker> blockers;  // if any, nothing was closed
};

RoundTrip round_trip(const std::vector<int>& numbers, const RestoreRequest& request = {});

}  // namespace ncr::test
