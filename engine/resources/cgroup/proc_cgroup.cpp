// engine: what the kernel says in text about cgroups (cgroups(7), proc(5)). A line of
// /proc/PID/cgroup is "ID:CONTROLLERS:PATH", the path not escaped: a cgroup's name may hold a
// colon, but no newline.
#include "engine/resources/cgroup/proc_cgroup.h"

#include <algorithm>

namespace ncr::cgroup {
namespace {

// mountinfo writes blanks and backslashes as three octal digits.
std::string unescaped(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); i++) {
    auto digit = [&](size_t at) {
      return at < text.size() ? static_cast<unsigned>(text[at] - '0') : 8u;
    };
    if (text[i] == '\\' && digit(i + 1) < 4 && digit(i + 2) < 8 && digit(i + 3) < 8) {
      plain += static_cast<char>(digit(i + 1) * 64 + digit(i + 2) * 8 + digit(i + 3));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

}  // namespace

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (end > 0) parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

Result<std::vector<Membership>> parse_memberships(std::string_view text) {
  std::vector<Membership> memberships;
  for (std::string_view line : split(text, '\n')) {
    const size_t first = line.find(':');
    const size_t second = first == line.npos ? first : line.find(':', first + 1);
    if (second == line.npos || second + 1 == line.size() || line[second + 1] != '/')
      return Error::unsupported(
          strf("a line of /proc/PID/cgroup reads \"%s\"", std::string(line).c_str()));
    memberships.push_back({std::string(line.substr(first + 1, second - first - 1)),
                           std::string(line.substr(second + 1))});
  }
  return memberships;
}

std::vector<CgroupMount> parse_cgroup_mounts(std::string_view mountinfo) {
  std::vector<CgroupMount> mounts;
  for (std::string_view line : split(mountinfo, '\n')) {
    const std::vector<std::string_view> fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 6 || fields.end() - dash < 4) continue;
    const bool v2 = dash[1] == "cgroup2";
    if (!v2 && dash[1] != "cgroup") continue;
    mounts.push_back({std::string(fields[2]), unescaped(fields[3]), unescaped(fields[4]),
                      v2 ? std::string() : unescaped(dash[3])});
  }
  return mounts;
}

bool controllers_within(std::string_view some, std::string_view all) {
  if (some.empty()) return all.empty();
  const std::vector<std::string_view> whole = split(all, ',');
  for (std::string_view one : split(some, ','))
    if (std::find(whole.begin(), whole.end(), one) == whole.end()) return false;
  return true;
}

bool same_controllers(std::string_view a, std::string_view b) {
  return controllers_within(a, b) && controllers_within(b, a);
}

bool path_below(std::string_view path, std::string_view top, std::string* rest) {
  if (top == "/") top = "";
  if (!path.starts_with(top)) return false;
  path.remove_prefix(top.size());
  if (!path.empty() && path[0] != '/') return false;
  *rest = path == "/" ? "" : path;
  return true;
}

bool path_above(std::string_view path, std::string_view end, std::string* start) {
  if (end == "/") end = "";
  if (!path.ends_with(end)) return false;
  path.remove_suffix(end.size());
  *start = path.empty() ? "/" : path;
  return true;
}

bool is_plain_path(std::string_view path) {
  if (path == "/") return true;
  if (path.empty() || path[0] != '/' || path.back() == '/') return false;
  if (path.find('\n') != path.npos || path.find('\0') != path.npos) return false;
  if (path.find("//") != path.npos) return false;
  for (std::string_view name : split(path, '/'))
    if (name == "." || name == ".." || name.size() > 255) return false;
  return true;
}

std::string joined(const std::string& top, const std::string& below) {
  if (below.empty()) return top;
  return top == "/" ? below : top + below;
}

}  // namespace ncr::cgroup
