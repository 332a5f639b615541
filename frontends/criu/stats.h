// stats-dump and stats-restore: two magic numbers and the payload's size, little endian, then a
// stats_entry.
#pragma once

#include <string>

namespace criu {

inline constexpr char kDumpStatsFile[] = "stats-dump";
inline constexpr char kRestoreStatsFile[] = "stats-restore";

// The files' contents, from the JSON report of the engine; what it lacks counts as nothing.
std::string dump_stats(const std::string& report);
std::string restore_stats(const std::string& report);
// For people.
std::string describe_dump(const std::string& report);
std::string describe_restore(const std::string& report);

}  // namespace criu
