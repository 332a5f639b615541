// Text of /proc/PID/timers -> records. Pure.
#pragma once

#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "task.pb.h"

namespace ncr::posix_timer {

// Ascending by id. value, interval and overrun are not in the text.
Result<std::vector<schema::PosixTimer>> parse_timers(std::string_view text);

}  // namespace ncr::posix_timer
