// Sets of addresses, and our own mappings as /proc/self/maps prints them. Pure but for
// own_mappings().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "restorer/args.h"

namespace ncr {

using AddressRange = wire::AddressRange;

struct OwnMapping {
  AddressRange range;
  std::string name;  // path, "[vdso]", or empty
};

Result<std::vector<OwnMapping>> parse_maps(const std::string& text);
Result<std::vector<OwnMapping>> own_mappings();  // without the vsyscall page, which is no mapping

// First address above user space, a power of two: 2^47 on x86_64, 2^48 on most aarch64 kernels.
uint64_t user_space_end();

// The union, ascending; ranges that touch become one.
std::vector<AddressRange> merged(std::vector<AddressRange> ranges);
// What [0, end) has besides `keep`, ascending.
std::vector<AddressRange> gaps_between(std::vector<AddressRange> keep, uint64_t end);
// What both lists have. Both ascend without overlaps; a boundary in either is a boundary in the
// result.
std::vector<AddressRange> common(const std::vector<AddressRange>& a,
                                 const std::vector<AddressRange>& b);
// The highest page-aligned address below `below` where `size` bytes and a margin on both sides hit
// nothing taken.
Result<uint64_t> find_gap(std::vector<AddressRange> taken, uint64_t size, uint64_t below);

}  // namespace ncr
