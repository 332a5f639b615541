// Text of /proc/PID/cgroup and of the cgroup lines of /proc/PID/mountinfo -> struct. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace ncr::cgroup {

// The cgroup of a task in one hierarchy.
struct Membership {
  std::string controllers;  // "cpu,cpuacct", "name=systemd"; empty: v2
  std::string path;         // absolute, below the root of the reader's cgroup namespace
};
Result<std::vector<Membership>> parse_memberships(std::string_view text);

struct CgroupMount {
  std::string device;  // "0:30"
  std::string root;    // the cgroup that is mounted
  std::string mount_point;
  std::string controllers;  // among other options of the file system; empty: v2
};
std::vector<CgroupMount> parse_cgroup_mounts(std::string_view mountinfo);

std::vector<std::string_view> split(std::string_view text, char separator);
// Whether every controller of `some` is among `all`; v2, which names none, is in v2 only.
bool controllers_within(std::string_view some, std::string_view all);
bool same_controllers(std::string_view a, std::string_view b);

// "/a/b/c" below "/a" is "/b/c"; "/a" below "/a" is "". False if it is not below.
bool path_below(std::string_view path, std::string_view top, std::string* rest);
// The start of `path` that leaves `end`: "/a/b" for "/a/b/c" and "/c". False if it does not end so.
bool path_above(std::string_view path, std::string_view end, std::string* start);
// Absolute, no empty, "." or ".." component, no byte that no name has.
bool is_plain_path(std::string_view path);
std::string joined(const std::string& top, const std::string& below);  // "/" + "/a" is "/a"

}  // namespace ncr::cgroup
