// Each mount is put in place through a descriptor of its parent's root. What covers the parent
// comes last, so that nothing stands in the way of what follows.
#include "engine/resources/mount_namespace/mount_order.h"

#include <algorithm>
#include <deque>
#include <map>
#include <unordered_map>

namespace ncr::mount_namespace {
namespace {

using schema::MountedFileSystem;

class Order {
 public:
  explicit Order(const schema::MountNamespace& record) : record_(record) {}

  Result<std::vector<Placement>> find() {
    TRY(read_file_systems());
    TRY(place_all());
    return std::move(placements_);
  }

 private:
  Result<> read_file_systems() {
    for (const MountedFileSystem& file_system : record_.file_systems())
      if (file_system.id() == 0 || !file_systems_.emplace(file_system.id(), &file_system).second)
        return Error::malformed("the image numbers two file systems alike");
    for (const schema::Mount& mount : record_.mounts()) {
      if (!file_systems_.contains(mount.file_system()))
        return Error::malformed(
            strf("mount %s is of a file system that is not in the image", mount.point().c_str()));
    }
    return {};
  }

  struct Child {
    const schema::Mount* mount;
    std::string point;
  };
  struct Later {
    Child child;
    size_t parent;  // placement
  };

  Result<std::map<uint32_t, std::vector<Child>>> children_of_all() const {
    std::unordered_map<uint32_t, const schema::Mount*> known;
    std::map<uint32_t, std::vector<Child>> children;
    for (const schema::Mount& mount : record_.mounts()) {
      const char* point = mount.point().c_str();
      Child child{&mount, {}};
      if (known.empty() != (mount.parent() == 0) || mount.id() == 0)
        return Error::malformed(strf("mount %s has no place in the image's table", point));
      if (mount.parent() != 0) {
        auto parent = known.find(mount.parent());
        if (parent == known.end())
          return Error::malformed(strf("mount %s has no parent in the image", point));
        if (!is_below(mount.point(), parent->second->point(), &child.point) || climbs(child.point))
          return Error::malformed(
              strf("mount %s is not below its parent %s", point, parent->second->point().c_str()));
      }
      if (!known.emplace(mount.id(), &mount).second)
        return Error::malformed(strf("mount %s has the number of another", point));
      children[mount.parent()].push_back(std::move(child));
    }
    if (known.empty()) return Error::malformed("a mount namespace of the image has no mounts");
    return children;
  }

  Result<> place_all() {
    auto children = TRY(children_of_all());
    place(*children[0].front().mount, 0, {});
    std::deque<Later> overlays;
    for (size_t i = 0;; i++) {
      if (i == placements_.size()) {
        if (overlays.empty()) return {};
        place(*overlays.front().child.mount, overlays.front().parent, overlays.front().child.point);
        overlays.pop_front();
      }
      auto below = children.find(placements_[i].mount->id());
      if (below == children.end()) continue;
      std::stable_sort(
          below->second.begin(), below->second.end(),
          [](const Child& a, const Child& b) { return a.point.size() > b.point.size(); });
      for (Child& child : below->second) {
        if (is_overlay(*child.mount))
          overlays.push_back({std::move(child), i});
        else
          place(*child.mount, i, std::move(child.point));
      }
    }
  }

  bool is_overlay(const schema::Mount& mount) const {
    const MountedFileSystem& file_system = *file_systems_.at(mount.file_system());
    return file_system.type() == "overlay" && file_system.origin() == MountedFileSystem::MADE &&
           !mount.external();
  }

  void place(const schema::Mount& mount, size_t parent, std::string point) {
    Placement placement;
    placement.mount = &mount;
    placement.file_system = file_systems_.at(mount.file_system());
    placement.parent = parent;
    placement.point = std::move(point);
    placement.late = placement.file_system->pid_namespace();
    if (placement.late == 0 && !placements_.empty()) placement.late = placements_[parent].late;
    placements_.push_back(std::move(placement));
  }

  const schema::MountNamespace& record_;
  std::unordered_map<uint32_t, const MountedFileSystem*> file_systems_;
  std::vector<Placement> placements_;
};

}  // namespace

bool climbs(const std::string& path) {
  return path == ".." || path.starts_with("../") || path.ends_with("/..") ||
         path.find("/../") != std::string::npos;
}

Result<std::vector<Placement>> order_mounts(const schema::MountNamespace& record) {
  return Order(record).find();
}

}  // namespace ncr::mount_namespace
