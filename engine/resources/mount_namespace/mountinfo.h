// Text of /proc/PID/mountinfo -> struct (proc(5)). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace ncr::mount_namespace {

struct MountLine {
  uint32_t id = 0;
  uint32_t parent = 0;
  uint64_t device = 0;      // as st_dev
  std::string root;         // of the file system, what is shown
  std::string point;        // path below the root of the reader's namespace
  uint64_t attributes = 0;  // MOUNT_ATTR_*
  bool id_mapped = false;
  uint32_t peers = 0;   // "shared:N"
  uint32_t master = 0;  // "master:N"
  bool unbindable = false;
  std::string type;
  std::string source;
  std::string options;  // of the file system, escapes as printed
};

// In the order of the text, that of the kernel. Escapes (\040) are undone.
Result<std::vector<MountLine>> parse_mountinfo(std::string_view text);

// Where the reader's root is; null if no line tells. Pure.
const MountLine* root_of(const std::vector<MountLine>& lines);

std::string undo_escapes(std::string_view text);
// Whether `path` is `above` or lies below it; `rest` is what leads from the one to the other,
// without a slash before or behind.
bool is_below(std::string_view path, std::string_view above, std::string* rest = nullptr);

}  // namespace ncr::mount_namespace
