// The restorer's instructions, sorted and laid out flat. Runs in the coordinator; the blob walks
// the bytes.
#include "engine/resources/step_list.h"

#include <algorithm>

namespace ncr {

std::string StepList::encode(wire::Stage first, wire::Stage last) const {
  std::vector<const Entry*> chosen;
  for (const Entry& entry : entries_)
    if (entry.stage >= first && entry.stage <= last) chosen.push_back(&entry);
  std::stable_sort(chosen.begin(), chosen.end(),
                   [](const Entry* a, const Entry* b) { return a->stage < b->stage; });
  std::string bytes;
  for (const Entry* entry : chosen) {
    wire::StepHeader header{entry->id, static_cast<uint32_t>(entry->payload.size())};
    bytes.append(reinterpret_cast<const char*>(&header), sizeof header);
    bytes += entry->payload;
    bytes.resize(wire::padded(bytes.size()));
  }
  return bytes;
}

}  // namespace ncr
