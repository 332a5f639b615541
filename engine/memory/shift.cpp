// Runs in the coordinator. The program of an image may lie at 4 MiB and its stack at the very top
// of user space: no shift keeps both inside, so staged addresses wrap around. Everything is
// compared in granules of 1 GiB, the unit of the shift: a set of addresses becomes a row of bits,
// and the shifted set is the same row, rotated.
#include "engine/memory/shift.h"

#include <algorithm>
#include <bit>

#include "engine/memory/staged_memory.h"

namespace ncr {
namespace {

constexpr uint64_t kGranule = 1ull << 30;
constexpr uint64_t kSlack = 2;  // granules around our own mappings: heap, thread stacks, arenas
constexpr uint64_t kSmallestStep = 64;

// A set of granules that answers "is any of [first, last] taken" at once.
class Granules {
 public:
  explicit Granules(uint64_t count) : taken_(count, false) {}
  uint64_t count() const { return taken_.size(); }
  void add(const AddressRange& range, uint64_t slack) {
    if (range.start >= range.end) return;
    const uint64_t first = range.start / kGranule;
    const uint64_t last = std::min((range.end - 1) / kGranule + slack, count() - 1);
    for (uint64_t at = first < slack ? 0 : first - slack; at <= last; at++) taken_[at] = true;
  }
  void count_up() {
    before_.assign(count() + 1, 0);
    for (size_t at = 0; at < count(); at++) before_[at + 1] = before_[at] + (taken_[at] ? 1 : 0);
  }
  bool any(uint64_t first, uint64_t last) const { return before_[last + 1] != before_[first]; }

 private:
  std::vector<bool> taken_;
  std::vector<uint32_t> before_;  // how many are taken below
};

struct Span {  // of granules, both ends included
  uint64_t first;
  uint64_t last;
};

bool fits(const std::vector<Span>& spans, const Granules& blocked, uint64_t by) {
  const uint64_t mask = blocked.count() - 1;
  for (const Span& span : spans) {
    const uint64_t first = (span.first + by) & mask;
    const uint64_t last = (span.last + by) & mask;
    if (first > last || blocked.any(first, last)) return false;
  }
  return true;
}

}  // namespace

Result<uint64_t> choose_shift(const std::vector<AddressRange>& finals,
                              const std::vector<AddressRange>& own, uint64_t user_end) {
  Granules blocked(user_end / kGranule);
  // Neither the lowest pages nor the last one of user space can be mapped.
  blocked.add({0, 1}, 0);
  blocked.add({user_end - 1, user_end}, 0);
  for (const AddressRange& range : own) blocked.add(range, kSlack);
  std::vector<Span> spans;
  for (const AddressRange& range : merged(finals)) {
    if (range.end > user_end)
      return Error::unsupported(strf("a mapping ends at %#lx, above the %#lx of this kernel",
                                     static_cast<unsigned long>(range.end),
                                     static_cast<unsigned long>(user_end)));
    blocked.add(range, 0);
    spans.push_back({range.start / kGranule, (range.end - 1) / kGranule});
  }
  blocked.count_up();
  // Coarse steps first: most trees leave room nearly everywhere.
  for (uint64_t step = std::max(blocked.count() / 8, uint64_t{1}); step > 0; step /= 2) {
    if (step < kSmallestStep) step = 1;
    for (uint64_t by = step; by < blocked.count(); by += step)
      if (fits(spans, blocked, by)) return by * kGranule;
  }
  return Error::unsupported(
      "the mappings of the tree leave no room to stage them: they reserve too much of the address "
      "space");
}

Result<uint64_t> choose_shift(const Image& image) {
  std::vector<AddressRange> finals;
  for (const schema::Task& task : image.tasks)
    for (const schema::Vma& vma : task.memory().vmas())
      if (vma.kind() != schema::VMA_VSYSCALL) finals.push_back({vma.start(), vma.end()});
  std::vector<AddressRange> own;
  std::vector<OwnMapping> mappings = TRY(own_mappings());
  own.reserve(mappings.size());
  for (const OwnMapping& mapping : mappings) own.push_back(mapping.range);
  return choose_shift(merged(std::move(finals)), own, user_space_end());
}

uint64_t staged_address(uint64_t address, uint64_t shift) {
  return (address + shift) & (user_space_end() - 1);
}

}  // namespace ncr
