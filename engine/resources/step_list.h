// The restorer's instructions for one task or one thread, in the making. Pure.
#pragma once

#include <algorithm>
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
  // Before the first of kind Before, in its stage; at the end of `otherwise` if there is none.
  template <class Before, class Step>
  void add_before(wire::Stage otherwise, const Step& step, const std::string& tail = {}) {
    add(otherwise, step, tail);
    for (size_t i = 0; i + 1 < entries_.size(); i++) {
      if (entries_[i].id != Before::kId) continue;
      entries_.back().stage = entries_[i].stage;
      std::rotate(entries_.begin() + static_cast<std::ptrdiff_t>(i), entries_.end() - 1,
                  entries_.end());
      return;
    }
  }
  // Of the first of this kind, its tail behind it; null if there is none.
  template <class Step>
  std::string* payload() {
    for (Entry& entry : entries_)
      if (entry.id == Step::kId) return &entry.payload;
    return nullptr;
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
