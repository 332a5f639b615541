// The settable files of a cgroup: which there are, what they say in a new cgroup, how they are set.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cgroup.pb.h"
#include "engine/base/sys.h"

namespace ncr::cgroup {

enum class Version { kV1, kV2 };
enum class When {
  kAtBirth,  // before there is a cgroup below
  kAtOnce,   // before a task enters
  kLate      // limits that the making of a tree may exceed for a moment
};

// The properties of a cgroup that are not as in a new one. `controllers`: those of its files.
Result<> read_properties(const Fd& directory, Version version, std::string_view controllers,
                         schema::Cgroup* cgroup);

// What of the text of a file is worth recording; empty: it is as in a new cgroup. Pure.
std::string recorded_value(Version version, std::string_view name, std::string_view text);

struct Write {
  std::string file;
  std::string text;
};
// The writes that give a cgroup a recorded property, in order. Malformed: no file that an image may
// set. Pure.
Result<std::vector<Write>> writes_of(Version version, const schema::CgroupProperty& property);
When when_of(Version version, std::string_view name);

}  // namespace ncr::cgroup
