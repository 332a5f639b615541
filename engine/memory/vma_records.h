// The VMAs of a frozen task, from what vma_iterator.bpf.c writes; bytes to records is a pure
// function.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/vma_line.h"

namespace ncr {

// Empty if one of them has something that only smaps can tell. Malformed: the bytes are not
// records.
Result<std::optional<std::vector<VmaLine>>> read_vma_records(std::string_view bytes);

}  // namespace ncr
