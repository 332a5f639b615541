// One line for each mount that can be reached from the reader's root (kernel: fs/proc_namespace.c,
// show_mountinfo):
//   36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
// Between the mount's options and the dash stand any number of optional fields.
#include "engine/resources/mount_namespace/mountinfo.h"

#include <sys/mount.h>
#include <sys/sysmacros.h>

#include <charconv>
#include <unordered_set>

namespace ncr::mount_namespace {
namespace {

// Takes the next field off the front of `text`.
std::string_view take_field(std::string_view& text, char separator) {
  size_t end = text.find(separator);
  std::string_view field = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return field;
}

bool to_number(std::string_view text, uint32_t* number) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

bool to_device(std::string_view text, uint64_t* device) {
  uint32_t major_number = 0;
  uint32_t minor_number = 0;
  std::string_view first = take_field(text, ':');
  if (!to_number(first, &major_number) || !to_number(text, &minor_number)) return false;
  *device = makedev(major_number, minor_number);
  return true;
}

struct Attribute {
  std::string_view name;
  uint64_t flag;
};
constexpr Attribute kAttributes[] = {
    {"ro", MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC},
    {"noatime", MOUNT_ATTR_NOATIME},
    {"nodiratime", MOUNT_ATTR_NODIRATIME},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW},
};

void set_attributes(std::string_view options, MountLine* line) {
  bool has_access_times = false;
  while (!options.empty()) {
    std::string_view option = take_field(options, ',');
    for (const Attribute& attribute : kAttributes)
      if (attribute.name == option) line->attributes |= attribute.flag;
    has_access_times |= option == "relatime" || option == "noatime";
    line->id_mapped |= option == "idmapped";
  }
  if (!has_access_times) line->attributes |= MOUNT_ATTR_STRICTATIME;
}

bool set_optional_field(std::string_view field, MountLine* line) {
  if (field.starts_with("shared:")) return to_number(field.substr(7), &line->peers);
  if (field.starts_with("master:")) return to_number(field.substr(7), &line->master);
  if (field == "unbindable") line->unbindable = true;
  return true;
}

bool parse_line(std::string_view text, MountLine* line) {
  if (!to_number(take_field(text, ' '), &line->id) ||
      !to_number(take_field(text, ' '), &line->parent) ||
      !to_device(take_field(text, ' '), &line->device))
    return false;
  line->root = undo_escapes(take_field(text, ' '));
  line->point = undo_escapes(take_field(text, ' '));
  set_attributes(take_field(text, ' '), line);
  for (;;) {
    if (text.empty()) return false;
    std::string_view field = take_field(text, ' ');
    if (field == "-") break;
    if (!set_optional_field(field, line)) return false;
  }
  line->type = undo_escapes(take_field(text, ' '));
  line->source = undo_escapes(take_field(text, ' '));
  line->options = text;
  return !line->type.empty() && line->point.starts_with("/") && line->id != 0;
}

bool is_octal(char c) { return c >= '0' && c <= '7'; }

}  // namespace

std::string undo_escapes(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
        is_octal(text[i + 3])) {
      plain += static_cast<char>(((text[i + 1] - '0') << 6) | ((text[i + 2] - '0') << 3) |
                                 (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

bool is_below(std::string_view path, std::string_view above, std::string* rest) {
  if (above.ends_with("/")) above.remove_suffix(1);
  if (!path.starts_with(above)) return false;
  path.remove_prefix(above.size());
  if (!path.empty() && path[0] != '/') return false;
  while (path.starts_with("/")) path.remove_prefix(1);
  while (path.ends_with("/")) path.remove_suffix(1);
  if (rest != nullptr) *rest = path;
  return true;
}

const MountLine* root_of(const std::vector<MountLine>& lines) {
  std::unordered_set<uint32_t> ids;
  for (const MountLine& line : lines) ids.insert(line.id);
  for (const MountLine& line : lines)
    if (line.point == "/" && (line.parent == line.id || !ids.contains(line.parent))) return &line;
  return nullptr;
}

Result<std::vector<MountLine>> parse_mountinfo(std::string_view text) {
  std::vector<MountLine> lines;
  while (!text.empty()) {
    std::string_view line_text = take_field(text, '\n');
    if (line_text.empty()) continue;
    MountLine line;
    if (!parse_line(line_text, &line))
      return Error::malformed(
          strf("mountinfo has a line that cannot be read: %.200s", std::string(line_text).c_str()));
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace ncr::mount_namespace
