// What the running kernel offers, found by trying, never by version number.
#pragma once

#include <string>
#include <vector>

namespace ncr {

enum class Need {
  kRequired,
  kFaster,
  kMore
};  // nothing works without it; slower; some objects are refused

struct KernelFeature {
  std::string name;  // "PAGEMAP_SCAN"
  bool present = false;
  Need need = Need::kRequired;
  std::string lost;  // what is lost without it
};

std::vector<KernelFeature> probe_kernel();

}  // namespace ncr
