// The maps of a user namespace: text of /proc/PID/uid_map -> ranges, ids there and back. Pure.
#pragma once

#include <optional>
#include <string_view>

#include "engine/base/result.h"
#include "user_namespace.pb.h"

namespace ncr::user_namespace {

using IdRanges = google::protobuf::RepeatedPtrField<schema::IdRange>;

// Malformed: a line that is not three numbers.
Result<> parse_id_map(std::string_view text, IdRanges* ranges);
// What an id of ours is inside; nothing if it is not mapped. An empty map is no namespace: the
// same.
std::optional<uint32_t> inside(const IdRanges& ranges, uint32_t outside_id);

}  // namespace ncr::user_namespace
