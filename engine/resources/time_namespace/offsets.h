// /proc/PID/timens_offsets (time_namespaces(7)): its text, and a namespace with it.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/result.h"
#include "time_namespace.pb.h"

namespace ncr::time_namespace {

struct Offsets {
  int64_t monotonic_ns = 0;
  int64_t boottime_ns = 0;
};

Result<Offsets> parse_offsets(const std::string& text);  // pure

// Makes one whose clocks go on from there; the caller's children are born in it.
Result<> unshare_from(const schema::TimeNamespace& clocks);

}  // namespace ncr::time_namespace
