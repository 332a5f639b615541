// engine: the files of a cgroup (Documentation/admin-guide/cgroup-v1, cgroup-v2.rst). Which of them
// can be set, and what a new cgroup has in them, the kernel does not tell; so they are listed here,
// and a file that is not listed is not restored. Not listed on purpose: counters and what resets
// them, the freezer (a restored tree runs), and values that show another one in other units.
#include "engine/resources/cgroup/properties.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdlib>

#include "engine/resources/cgroup/proc_cgroup.h"

namespace ncr::cgroup {
namespace {

enum class Form {
  kText,         // one value
  kLines,        // a value per line, for a device each; every line is written for itself
  kHugeIsNone,   // bytes; a number beyond all memory says that there is no limit
  kControllers,  // cgroup.subtree_control: names, written with a plus
  kDeviceRules,  // devices.list, set through devices.deny and devices.allow
  kOomControl,   // several lines, of which the first can be set
  kPriorities    // net_prio.ifpriomap: a line per interface, 0 for most
};

struct Known {
  const char* name;      // "hugetlb.*.max": any page size in place of the star
  const char* standard;  // what a new cgroup has; null: what it has comes from its parent
  Form form = Form::kText;
  When when = When::kAtOnce;
};

// In the order of setting: cpus before what depends on them, a period before the quota, memory
// before memory and swap.
constexpr Known kV1[] = {
    {"cgroup.clone_children", "0"},
    {"notify_on_release", "0"},
    {"cpuset.cpus", nullptr},
    {"cpuset.mems", nullptr},
    {"cpuset.cpu_exclusive", "0"},
    {"cpuset.mem_exclusive", "0"},
    {"cpuset.mem_hardwall", "0"},
    {"cpuset.memory_migrate", "0"},
    {"cpuset.memory_spread_page", nullptr},
    {"cpuset.memory_spread_slab", nullptr},
    {"cpuset.sched_load_balance", "1"},
    {"cpuset.sched_relax_domain_level", "-1"},
    {"cpu.shares", "1024"},
    {"cpu.idle", "0"},
    {"cpu.cfs_period_us", "100000"},
    {"cpu.cfs_quota_us", "-1"},
    {"cpu.cfs_burst_us", "0"},
    {"cpu.rt_period_us", "1000000"},
    {"cpu.rt_runtime_us", "0"},
    {"cpu.uclamp.min", "0.00"},
    {"cpu.uclamp.max", "max"},
    {"memory.limit_in_bytes", "-1", Form::kHugeIsNone},
    {"memory.memsw.limit_in_bytes", "-1", Form::kHugeIsNone},
    {"memory.soft_limit_in_bytes", "-1", Form::kHugeIsNone},
    {"memory.kmem.tcp.limit_in_bytes", "-1", Form::kHugeIsNone},
    {"memory.swappiness", nullptr},
    {"memory.oom_control", "oom_kill_disable 0", Form::kOomControl},
    {"memory.move_charge_at_immigrate", "0"},
    {"pids.max", "max", Form::kText, When::kLate},
    {"blkio.weight", "500"},
    {"blkio.leaf_weight", "500"},
    {"blkio.bfq.weight", "100"},
    {"blkio.bfq.weight_device", "default 100", Form::kLines},
    {"blkio.throttle.read_bps_device", "", Form::kLines},
    {"blkio.throttle.write_bps_device", "", Form::kLines},
    {"blkio.throttle.read_iops_device", "", Form::kLines},
    {"blkio.throttle.write_iops_device", "", Form::kLines},
    {"devices.list", "a *:* rwm", Form::kDeviceRules, When::kAtBirth},
    {"hugetlb.*.limit_in_bytes", "-1", Form::kHugeIsNone},
    {"hugetlb.*.rsvd.limit_in_bytes", "-1", Form::kHugeIsNone},
    {"net_cls.classid", "0"},
    {"net_prio.ifpriomap", "", Form::kPriorities},
    {"rdma.max", "", Form::kLines},
    {"misc.max", "", Form::kLines},
};

constexpr Known kV2[] = {
    {"cpuset.cpus", ""},
    {"cpuset.mems", ""},
    {"cpuset.cpus.exclusive", ""},
    {"cpuset.cpus.partition", "member"},
    {"cpu.idle", "0"},
    {"cpu.weight", "100"},
    {"cpu.max", "max 100000"},
    {"cpu.max.burst", "0"},
    {"cpu.uclamp.min", "0.00"},
    {"cpu.uclamp.max", "max"},
    {"memory.min", "0"},
    {"memory.low", "0"},
    {"memory.high", "max"},
    {"memory.max", "max"},
    {"memory.swap.high", "max"},
    {"memory.swap.max", "max"},
    {"memory.zswap.max", "max"},
    {"memory.zswap.writeback", "1"},
    {"memory.oom.group", "0"},
    {"io.weight", "default 100", Form::kLines},
    {"io.bfq.weight", "default 100", Form::kLines},
    {"io.prio.class", "no-change"},
    {"io.max", "", Form::kLines},
    {"io.latency", "", Form::kLines},
    {"hugetlb.*.max", "max"},
    {"hugetlb.*.rsvd.max", "max"},
    {"rdma.max", "", Form::kLines},
    {"misc.max", "", Form::kLines},
    {"cgroup.pressure", "1"},
    {"cgroup.subtree_control", "", Form::kControllers},
    {"pids.max", "max", Form::kText, When::kLate},
    {"cgroup.max.depth", "max", Form::kText, When::kLate},
    {"cgroup.max.descendants", "max", Form::kText, When::kLate},
};

bool names(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == pattern.npos) return pattern == name;
  const std::string_view start = pattern.substr(0, star);
  const std::string_view end = pattern.substr(star + 1);
  if (name.size() <= start.size() + end.size()) return false;
  if (!name.starts_with(start) || !name.ends_with(end)) return false;
  const std::string_view size = name.substr(start.size(), name.size() - start.size() - end.size());
  return std::all_of(size.begin(), size.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'); });
}

template <class Body>
void for_each_known(Version version, Body body) {
  if (version == Version::kV1)
    for (const Known& known : kV1) body(known);
  else
    for (const Known& known : kV2) body(known);
}

const Known* find(Version version, std::string_view name) {
  const Known* found = nullptr;
  for_each_known(version, [&](const Known& known) {
    if (names(known.name, name)) found = &known;
  });
  return found;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  return text;
}

bool is_beyond_all_memory(std::string_view bytes) {
  return std::strtoull(std::string(bytes).c_str(), nullptr, 10) >= 1ull << 62;
}

// The lines that say something: "max" in every field says nothing.
std::string limiting_lines(std::string_view text, std::string_view standard) {
  std::string kept;
  for (std::string_view line : split(text, '\n')) {
    const std::vector<std::string_view> words = split(line, ' ');
    const bool limits =
        line != standard && std::any_of(words.begin() + 1, words.end(), [](std::string_view word) {
          return word != "max" && !word.ends_with("=max");
        });
    if (limits) kept += std::string(line) + "\n";
  }
  return std::string(trimmed(kept));
}

std::string value_of(const Known& known, std::string_view text) {
  switch (known.form) {
    case Form::kHugeIsNone:
      return is_beyond_all_memory(text) ? "-1" : std::string(text);
    case Form::kOomControl:
      return std::string(text.substr(0, text.find('\n')));
    case Form::kLines:
      return limiting_lines(text, known.standard);
    case Form::kPriorities: {
      std::string kept;
      for (std::string_view line : split(text, '\n'))
        if (!line.ends_with(" 0")) kept += std::string(line) + "\n";
      return std::string(trimmed(kept));
    }
    default:
      return std::string(text);
  }
}

// A controller's files begin with its name; those of the cgroup itself are there in any case.
bool belongs_to(std::string_view file, std::string_view controllers) {
  const std::string_view controller = file.substr(0, file.find('.'));
  return controller == "cgroup" || controller == "notify_on_release" ||
         controllers_within(controller, controllers);
}

// The files that stand behind a pattern, by the page sizes of this machine.
std::vector<std::string> files_of(const Known& known) {
  const std::string pattern = known.name;
  const size_t star = pattern.find('*');
  if (star == pattern.npos) return {pattern};
  std::vector<std::string> files;
  for (const char* size : {"64KB", "1MB", "2MB", "16MB", "32MB", "512MB", "1GB", "2GB", "16GB"})
    files.push_back(pattern.substr(0, star) + size + pattern.substr(star + 1));
  return files;
}

Result<> read_property(const Fd& directory, Version version, const std::string& file,
                       schema::Cgroup* cgroup) {
  Result<std::string> text = sys::read_file_at(directory, file.c_str());
  if (!text.ok()) {
    const int why = text.error().os_error();
    if (why == ENOENT || why == EOPNOTSUPP || why == ENODEV) return {};
    return text.take_error();
  }
  const std::string value = recorded_value(version, file, text.value());
  if (value.empty()) return {};
  schema::CgroupProperty* property = cgroup->add_properties();
  property->set_name(file);
  property->set_value(value);
  return {};
}

}  // namespace

std::string recorded_value(Version version, std::string_view name, std::string_view text) {
  const Known* known = find(version, name);
  if (known == nullptr) return "";
  const std::string value = value_of(*known, trimmed(text));
  return known->standard != nullptr && value == known->standard ? "" : value;
}

Result<> read_properties(const Fd& directory, Version version, std::string_view controllers,
                         schema::Cgroup* cgroup) {
  Result<> outcome;
  for_each_known(version, [&](const Known& known) {
    if (!outcome.ok() || !belongs_to(known.name, controllers)) return;
    for (const std::string& file : files_of(known))
      if (outcome.ok()) outcome = read_property(directory, version, file, cgroup);
  });
  // An idle cgroup shows a weight that cannot be set.
  auto& properties = *cgroup->mutable_properties();
  const bool idle = std::any_of(properties.begin(), properties.end(),
                                [](const auto& one) { return one.name() == "cpu.idle"; });
  for (int i = properties.size() - 1; i >= 0 && idle; i--)
    if (properties[i].name() == "cpu.weight" || properties[i].name() == "cpu.shares")
      properties.DeleteSubrange(i, 1);
  return outcome;
}

When when_of(Version version, std::string_view name) {
  const Known* known = find(version, name);
  return known == nullptr ? When::kAtOnce : known->when;
}

Result<std::vector<Write>> writes_of(Version version, const schema::CgroupProperty& property) {
  const std::string& name = property.name();
  const Known* known = find(version, name);
  if (known == nullptr)
    return Error::malformed(strf("\"%s\" is no property of a cgroup", name.c_str()));
  std::vector<Write> writes;
  switch (known->form) {
    case Form::kDeviceRules:
      writes.push_back({"devices.deny", "a"});
      for (std::string_view rule : split(property.value(), '\n'))
        writes.push_back({"devices.allow", std::string(rule)});
      break;
    case Form::kControllers:
      for (std::string_view controller : split(property.value(), ' '))
        writes.push_back({name, "+" + std::string(controller)});
      break;
    case Form::kLines:
    case Form::kPriorities:
      for (std::string_view line : split(property.value(), '\n'))
        writes.push_back({name, std::string(line)});
      break;
    case Form::kOomControl:
      writes.push_back({name, property.value().ends_with("1") ? "1" : "0"});
      break;
    default:
      writes.push_back({name, property.value()});
  }
  return writes;
}

}  // namespace ncr::cgroup
