// The restorer's instructions for one task or one thread, in the making. Pure.
#pragma once

#include <string>
#include <vector>

#include "pie/steps.h"

namespace ncr {

class StepList {
 public:
  // Step is a POD with kId (pie/steps.h). `tail` are bytes that follow it: the blob finds them
  // right behind the struct.
  template <class Step>
  void add(wire::Stage stage, const Step& step, const std::string& tail = {}) {
    std::string bytes(reinterpret_cast<const char*>(&step), sizeof step);
    entries_.push_back({stage, Step::kId, bytes + tail});
  }
  // Stable by stage; StepHeader + payload padded to 8, each.
  std::string encode(wire::Stage first, wire::Stage last) const;

 private:
  struct Entry {
    wire::Stage stage;
    uint32_t id;
    std::string payload;
  };
  std::vector<Entry> entries_;
};

}  // namespace ncr
