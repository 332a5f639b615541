// A file system of the tree's table that the engine has mounted too belongs to the machine: it is
// there at restore, by whatever path. One that the engine has not was mounted by or for the tree,
// and goes with it: it is mounted again, with its content if that is in memory only. What a file
// system is, mountinfo tells by device number (struct super_block, s_dev).
#include "engine/resources/mount_namespace/mount_table.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "engine/resources/user_namespace/id_map.h"

namespace ncr::mount_namespace {
namespace {

constexpr const char* kViewsOfKernel[] = {"proc",    "sysfs",      "mqueue",    "devpts",
                                          "cgroup",  "cgroup2",    "devtmpfs",  "debugfs",
                                          "tracefs", "securityfs", "configfs",  "fusectl",
                                          "pstore",  "efivarfs",   "selinuxfs", "binfmt_misc"};
constexpr const char* kEmptyAtRestore[] = {"hugetlbfs", "bpf"};  // what is in them is looked at

struct Reason {
  const char* type;
  const char* reason;
};
constexpr Reason kReasons[] = {
    {"fuse", "its connection to a daemon cannot be made again"},
    {"fuseblk", "its connection to a daemon cannot be made again"},
    {"nfs", "its connection to a server cannot be made again"},
    {"nfs4", "its connection to a server cannot be made again"},
    {"cifs", "its connection to a server cannot be made again"},
    {"9p", "its connection to a server cannot be made again"},
};

template <size_t N>
bool is_among(const char* const (&names)[N], const std::string& name) {
  return std::any_of(std::begin(names), std::end(names),
                     [&](const char* known) { return name == known; });
}

// Why a file system of the tree alone cannot be mounted again; empty if it can.
std::string reason_against(const MountLine& line) {
  for (const Reason& known : kReasons)
    if (line.type == known.type || line.type.starts_with(std::string(known.type) + "."))
      return known.reason;
  if (is_view_of_kernel(line.type) || is_in_memory(line.type) || line.type == "overlay" ||
      is_among(kEmptyAtRestore, line.type) || line.type == kNsfs || line.type == "autofs" ||
      line.source.starts_with("/dev/"))
    return {};
  return "a file system of this kind cannot be made again";
}

class Table {
 public:
  Table(const std::vector<MountLine>& lines, const std::vector<MountLine>& own,
        const DumpRequest& request, const Given& given, std::vector<Refusal>* refusals)
      : lines_(lines), own_(own), request_(request), brought_(given.root), refusals_(refusals) {
    for (const MountLine& line : own_) own_groups_[line.peers]++;
    for (const MountLine& line : lines_) groups_[line.peers]++;
    for (const External& external : request_.externals)
      if (external.kind == "mnt") externals_.emplace(without_slash(external.object), &external);
    for (const MountLine& line : given.table != nullptr ? *given.table : lines_)
      if (externals_.contains(line.point)) external_lines_.emplace(line.point, &line);
  }

  Result<schema::MountNamespace> describe() {
    std::vector<const MountLine*> order = TRY(parents_first());
    root_ = order.front();
    for (const MountLine* line : order) add(*line);
    return std::move(out_);
  }

 private:
  static std::string without_slash(const std::string& path) {
    return path.size() > 1 && path.ends_with("/") ? path.substr(0, path.size() - 1) : path;
  }

  Result<std::vector<const MountLine*>> parents_first() const {
    std::unordered_map<uint32_t, std::vector<const MountLine*>> children;
    std::unordered_map<uint32_t, const MountLine*> by_id;
    for (const MountLine& line : lines_) by_id.emplace(line.id, &line);
    std::vector<const MountLine*> order;
    for (const MountLine& line : lines_)
      if (line.parent != line.id && by_id.contains(line.parent))
        children[line.parent].push_back(&line);
    const MountLine* root = root_of(lines_);
    if (root == nullptr) return Error::malformed("mountinfo shows no root");
    order.push_back(root);
    for (size_t i = 0; i < order.size(); i++)
      for (const MountLine* child : children[order[i]->id]) order.push_back(child);
    return order;
  }

  void add(const MountLine& line) {
    schema::Mount* mount = out_.add_mounts();
    mount->set_id(line.id);
    mount->set_parent(&line == root_ ? 0 : line.parent);
    set_root(line, mount);
    mount->set_point(line.point);
    mount->set_attributes(line.attributes);
    mount->set_peers(line.peers);
    mount->set_master(line.master);
    mount->set_peers_outside(line.peers != 0 && own_groups_.contains(line.peers));
    mount->set_master_outside(line.master != 0 && !groups_.contains(line.master));
    mount->set_unbindable(line.unbindable);
    mount->set_file_system(add_file_system(line));
    auto external = externals_.find(line.point);
    if (external != externals_.end() && is_external(line)) {
      mount->set_external(true);
      mount->set_external_key(external->second->value);
    } else {
      check(line, out_.file_systems(static_cast<int>(mount->file_system()) - 1));
    }
  }

  static void set_root(const MountLine& line, schema::Mount* mount) {
    constexpr std::string_view kDeleted = "//deleted";
    std::string root = line.root;
    if (root.ends_with(kDeleted)) {
      root.resize(root.size() - kDeleted.size());
      mount->mutable_removed();
    }
    mount->set_root(root.empty() ? "/" : root);
  }

  uint32_t add_file_system(const MountLine& line) {
    auto [known, is_new] = file_systems_.try_emplace(line.device, 0);
    if (!is_new) return known->second;
    schema::MountedFileSystem* added = out_.add_file_systems();
    known->second = static_cast<uint32_t>(out_.file_systems_size());
    added->set_id(known->second);
    added->set_type(line.type);
    added->set_source(line.source);
    added->set_options(line.options);
    added->set_device(line.device);
    for (const MountLine& ours : own_) {
      if (ours.device != line.device) continue;
      bool better = added->host_point().empty() || ours.root.size() < host_root_.size();
      added->set_origin(schema::MountedFileSystem::HOST);
      if (!better) continue;
      added->set_host_point(ours.point);
      host_root_ = ours.root;
    }
    return known->second;
  }

  // Another mount may be at that point here.
  bool is_external(const MountLine& line) const {
    auto [first, last] = external_lines_.equal_range(line.point);
    return first == last || std::any_of(first, last, [&](const auto& known) {
             return known.second->device == line.device && known.second->root == line.root;
           });
  }

  // What takes the other one's place takes its place too.
  bool shows_part_of_external(const MountLine& line) const {
    return std::any_of(external_lines_.begin(), external_lines_.end(), [&](const auto& known) {
      return known.second->device == line.device && is_below(line.root, known.second->root);
    });
  }

  void refuse(const MountLine& line, std::string reason, std::string way_out) {
    refusals_->push_back({strf("mount %s (%s)", line.point.c_str(), line.type.c_str()),
                          std::move(reason), std::move(way_out)});
  }

  bool is_brought(const MountLine& line) const {
    return brought_ != nullptr && line.device == brought_->device &&
           is_below(line.root, brought_->root);
  }
  bool is_root_brought(const MountLine& line) const {
    return &line == root_ && is_brought(line) && line.root == brought_->root;
  }

  void check(const MountLine& line, const schema::MountedFileSystem& file_system) {
    std::string external = strf("--external mnt[%s]:KEY", line.point.c_str());
    if (line.id_mapped && !is_root_brought(line))
      refuse(line, "its owners are mapped, and the kernel does not tell how", external);
    if (is_brought(line)) return;
    if (file_system.origin() == schema::MountedFileSystem::MADE) {
      std::string reason = reason_against(line);
      if (brought_ != nullptr && line.device == brought_->device)
        reason = "it shows more of the root's file system than a restore is given";
      if (!reason.empty()) refuse(line, reason, "unmount it before the dump");
      return;
    }
    if (line.type == kNsfs && !is_callers_namespace(own_, line)) return;
    if (brought_ == nullptr || request_.external_mounts_auto || is_view_of_kernel(line.type))
      return;
    if (shows_part_of_external(line)) return;
    refuse(line, "it shows a file system of the machine, which the image does not hold", external);
  }

  const std::vector<MountLine>& lines_;
  const std::vector<MountLine>& own_;
  const DumpRequest& request_;
  const MountLine* brought_;
  std::vector<Refusal>* refusals_;
  const MountLine* root_ = nullptr;
  std::string host_root_;
  std::unordered_map<std::string, const External*> externals_;
  std::unordered_multimap<std::string, const MountLine*> external_lines_;  // by point
  std::unordered_map<uint32_t, int> groups_;
  std::unordered_map<uint32_t, int> own_groups_;
  std::unordered_map<uint64_t, uint32_t> file_systems_;
  schema::MountNamespace out_;
};

}  // namespace

void number_owners(const schema::UserNamespace& space, schema::MountedFileSystem* file_system) {
  auto renumber = [&](std::string_view option) -> std::optional<std::string> {
    const bool user = option.starts_with("uid=");
    uint32_t outer = 0;
    if (!user && !option.starts_with("gid=")) return std::string(option);
    std::string_view digits = option.substr(4);
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), outer);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    std::optional<uint32_t> inner =
        user_namespace::inside(user ? space.uids() : space.gids(), outer);
    if (!inner) return std::nullopt;
    return strf("%s%u", user ? "uid=" : "gid=", *inner);
  };
  std::string options;
  std::string_view left = file_system->options();
  while (!left.empty()) {
    size_t end = left.find(',');
    std::optional<std::string> option = renumber(left.substr(0, end));
    left.remove_prefix(end == std::string_view::npos ? left.size() : end + 1);
    if (option) options += (options.empty() ? "" : ",") + *option;
  }
  file_system->set_options(options);
}

bool is_callers_namespace(const std::vector<MountLine>& own, const MountLine& line) {
  return std::any_of(own.begin(), own.end(), [&](const MountLine& ours) {
    return ours.type == kNsfs && ours.root == line.root;
  });
}

bool is_view_of_kernel(const std::string& type) { return is_among(kViewsOfKernel, type); }
bool is_in_memory(const std::string& type) { return type == "tmpfs" || type == "ramfs"; }

Result<schema::MountNamespace> describe_table(const std::vector<MountLine>& lines,
                                              const std::vector<MountLine>& own,
                                              const DumpRequest& request, const Given& given,
                                              std::vector<Refusal>* refusals) {
  return Table(lines, own, request, given, refusals).describe();
}

}  // namespace ncr::mount_namespace
