#include "engine/memory/address_ranges.h"

#include <sys/auxv.h>

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <cstdio>

#include "engine/base/ids.h"
#include "engine/base/procfs.h"
#include "engine/base/sys.h"

namespace ncr {
namespace {

constexpr uint64_t kMargin =
    1 << 20;  // more than the gap the kernel keeps below a stack that grows

Result<OwnMapping> parse_line(const std::string& line) {
  OwnMapping mapping;
  int name_at = 0;
  int fields = std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %*4s %*x %*x:%*x %*u %n",
                           &mapping.range.start, &mapping.range.end, &name_at);
  if (fields != 2 || name_at == 0 || mapping.range.start >= mapping.range.end)
    return Error::malformed(strf("/proc/self/maps: strange line \"%s\"", line.c_str()));
  mapping.name = line.substr(static_cast<size_t>(name_at));
  return mapping;
}

}  // namespace

Result<std::vector<OwnMapping>> parse_maps(const std::string& text) {
  std::vector<OwnMapping> mappings;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    OwnMapping mapping = TRY(parse_line(text.substr(at, end - at)));
    if (mapping.name != "[vsyscall]") mappings.push_back(std::move(mapping));
    at = end + 1;
  }
  return mappings;
}

Result<std::vector<OwnMapping>> own_mappings() {
  std::string text = TRY(procfs::read_file("self/maps"));
  return parse_maps(text);
}

// The kernel puts the program's name at the very top of the first stack.
uint64_t user_space_end() { return std::bit_ceil(static_cast<uint64_t>(::getauxval(AT_EXECFN))); }

std::vector<AddressRange> merged(std::vector<AddressRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const AddressRange& a, const AddressRange& b) { return a.start < b.start; });
  std::vector<AddressRange> out;
  for (const AddressRange& range : ranges) {
    if (range.start >= range.end) continue;
    if (!out.empty() && range.start <= out.back().end)
      out.back().end = std::max(out.back().end, range.end);
    else
      out.push_back(range);
  }
  return out;
}

std::vector<AddressRange> gaps_between(std::vector<AddressRange> keep, uint64_t end) {
  std::vector<AddressRange> gaps;
  uint64_t at = 0;
  for (const AddressRange& range : merged(std::move(keep))) {
    if (range.start > at) gaps.push_back({at, std::min(range.start, end)});
    at = range.end;
    if (at >= end) return gaps;
  }
  gaps.push_back({at, end});
  return gaps;
}

std::vector<AddressRange> common(const std::vector<AddressRange>& a,
                                 const std::vector<AddressRange>& b) {
  std::vector<AddressRange> out;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const AddressRange both{std::max(a[i].start, b[j].start), std::min(a[i].end, b[j].end)};
    if (both.start < both.end) out.push_back(both);
    if (a[i].end < b[j].end)
      i++;
    else
      j++;
  }
  return out;
}

Result<uint64_t> find_gap(std::vector<AddressRange> taken, uint64_t size, uint64_t below) {
  const uint64_t needed = page_ceil(size) + 2 * kMargin;
  std::vector<AddressRange> gaps = gaps_between(std::move(taken), below);
  for (auto gap = gaps.rbegin(); gap != gaps.rend(); ++gap)
    if (gap->end - gap->start >= needed) return page_floor(gap->end - needed + kMargin);
  return Error::unsupported(
      strf("no %" PRIu64 " bytes of address space are free for the restorer", size));
}

}  // namespace ncr
