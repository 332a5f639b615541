// The text of /proc/PID/timens_offsets (time_namespaces(7)). Pure.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/result.h"

namespace ncr::time_namespace {

struct Offsets {
  int64_t monotonic_ns = 0;
  int64_t boottime_ns = 0;
};

Result<Offsets> parse_offsets(const std::string& text);

}  // namespace ncr::time_namespace
