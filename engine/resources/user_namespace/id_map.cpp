// Each line of a map: first id inside, first id outside, how many (user_namespaces(7)). Pure.
#include "engine/resources/user_namespace/id_map.h"

#include <cstdio>
#include <string>

#include "engine/base/strf.h"

namespace ncr::user_namespace {

Result<> parse_id_map(std::string_view text, IdRanges* ranges) {
  while (!text.empty()) {
    size_t end = text.find('\n');
    const std::string line(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    unsigned in = 0, out = 0, count = 0;
    int length = 0;
    if (std::sscanf(line.c_str(), "%u %u %u %n", &in, &out, &count, &length) != 3 ||
        static_cast<size_t>(length) != line.size() || count == 0)
      return Error::malformed(strf("strange line \"%s\"", line.c_str()));
    schema::IdRange* range = ranges->Add();
    range->set_inside(in);
    range->set_outside(out);
    range->set_count(count);
  }
  return {};
}

std::optional<uint32_t> inside(const IdRanges& ranges, uint32_t outside_id) {
  if (ranges.empty()) return outside_id;
  for (const schema::IdRange& range : ranges)
    if (outside_id >= range.outside() && outside_id - range.outside() < range.count())
      return range.inside() + (outside_id - range.outside());
  return std::nullopt;
}

}  // namespace ncr::user_namespace
