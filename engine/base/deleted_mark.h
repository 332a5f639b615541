// What the kernel prints behind the path of something whose name is gone (fs/d_path.c), in maps and
// in the links of /proc/PID. A file may be called like that: whoever must know looks whether it is
// there under the name as printed, or how many links it has. Pure.
#pragma once

#include <string>
#include <string_view>

namespace ncr {

inline constexpr std::string_view kDeletedMark = " (deleted)";

// Takes the last one off; false: there was none.
bool drop_deleted_mark(std::string_view* printed);
bool drop_deleted_mark(std::string* printed);

}  // namespace ncr
