#include "engine/memory/pending_pages.h"

#include <algorithm>
#include <vector>

namespace ncr {

void PendingPages::add(uint64_t start, uint64_t end, uint64_t stored) {
  if (start < end) runs_[start] = {end, stored};
}

std::optional<PendingPages::Run> PendingPages::at(uint64_t address, uint64_t most) const {
  auto behind = runs_.upper_bound(address);
  if (behind == runs_.begin()) return {};
  const auto& [start, rest] = *std::prev(behind);
  if (address >= rest.end) return {};
  return Run{address, std::min(rest.end, address + most), rest.stored + (address - start)};
}

std::optional<PendingPages::Run> PendingPages::next(uint64_t address, uint64_t most) const {
  if (std::optional<Run> here = at(address, most)) return here;
  auto found = runs_.lower_bound(address);
  if (found == runs_.end()) found = runs_.begin();
  if (found == runs_.end()) return {};
  return at(found->first, most);
}

void PendingPages::cut(uint64_t address) {
  auto behind = runs_.upper_bound(address);
  if (behind == runs_.begin()) return;
  auto& [start, rest] = *std::prev(behind);
  if (start == address || rest.end <= address) return;
  const uint64_t end = rest.end;
  rest.end = address;
  runs_[address] = {end, rest.stored + (address - start)};
}

void PendingPages::remove(uint64_t start, uint64_t end) {
  cut(start);
  cut(end);
  runs_.erase(runs_.lower_bound(start), runs_.lower_bound(end));
}

void PendingPages::move(uint64_t from, uint64_t to, uint64_t size) {
  cut(from);
  cut(from + size);
  std::vector<std::pair<uint64_t, Rest>> moved(runs_.lower_bound(from),
                                               runs_.lower_bound(from + size));
  remove(from, from + size);
  remove(to, to + size);
  for (const auto& [start, rest] : moved) add(start - from + to, rest.end - from + to, rest.stored);
}

}  // namespace ncr
