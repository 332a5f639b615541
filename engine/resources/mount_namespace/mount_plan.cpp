// Mounts are put in place one by one, each through a descriptor of its parent's root: those with
// the longest way first, what covers the parent last, so that nothing stands in the way of what
// follows. All are private while that goes on, so that nothing spreads; who spreads to whom is set
// at the end, masters before those that follow them. An overlay names directories of the tree, so
// it comes when those are there. What another namespace of the tree has as well is copied from
// there.
#include "engine/resources/mount_namespace/mount_plan.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <deque>
#include <map>
#include <unordered_map>

#include "engine/resources/mount_namespace/split_systems.h"

namespace ncr::mount_namespace {
namespace {

using schema::MountedFileSystem;

bool climbs(const std::string& path) {
  return path == ".." || path.starts_with("../") || path.ends_with("/..") ||
         path.find("/../") != std::string::npos;
}

// How likely `line` is the file system that the image calls `wanted`. Numbers of file systems
// without a block device are given anew at every boot.
int likeness(const MountLine& line, const MountedFileSystem& wanted) {
  if (line.type != wanted.type()) return 0;
  const bool same_device = line.device == wanted.device();
  if (major(line.device) != 0) return same_device ? 8 : 0;
  const bool same_point = line.point == wanted.host_point();
  if (!same_device && !same_point) return 0;
  return (same_point ? 4 : 0) + (same_device ? 3 : 0) + (line.source == wanted.source() ? 2 : 0);
}

class Planner {
 public:
  Planner(const schema::MountNamespace& record, const std::vector<MountLine>& own,
          const RestoreRequest& request, const std::vector<const schema::Namespace*>& earlier)
      : record_(record), own_(own), request_(request), earlier_(earlier) {
    for (const External& external : request.externals)
      if (external.kind == "mnt") externals_.emplace(external.object, external.value);
  }

  Result<MountPlan> plan() {
    TRY(read_file_systems());
    TRY(place_all());
    if (plan_.placements.front().late != 0)
      return Error::malformed("the root shows processes below that of the tree");
    for (Placement& placement : plan_.placements)
      TRY_WHILE(find_source(placement), "mount %s", placement.mount->point().c_str());
    TRY(spread_all());
    return std::move(plan_);
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
      if (!mount.external()) uses_[mount.file_system()]++;
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
      if (i == plan_.placements.size()) {
        if (overlays.empty()) return {};
        place(*overlays.front().child.mount, overlays.front().parent, overlays.front().child.point);
        overlays.pop_front();
      }
      auto below = children.find(plan_.placements[i].mount->id());
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
    if (placement.late == 0 && !plan_.placements.empty())
      placement.late = plan_.placements[parent].late;
    plan_.placements.push_back(std::move(placement));
  }

  bool is_root(const Placement& placement) const { return &placement == plan_.placements.data(); }

  Result<> find_source(Placement& placement) {
    const schema::Mount& mount = *placement.mount;
    if (climbs(mount.root())) return Error::malformed("it shows a part that climbs out of it");
    placement.keeps_master = mount.master_outside() && !group_elsewhere(mount.master()).mount;
    if (mount.external()) return take_external(placement);
    if (!mount.namespace_kind().empty()) {
      placement.source.kind = MountSource::Kind::kNamespace;
      return {};
    }
    if (!request_.root.empty() && find_in_root(placement)) return {};
    if (placement.file_system->pid_namespace() != 0) return take_made(placement);
    if (find_elsewhere(placement)) return {};
    if (find_external(placement)) return {};
    if (placement.file_system->origin() == MountedFileSystem::HOST) {
      if (find_host(placement)) return {};
      if (placement.file_system->type() == "tmpfs" || major(placement.file_system->device()) != 0)
        return Error::unsupported(
            strf("its file system (%s, %s) is not mounted here; mount it at %s before the restore",
                 placement.file_system->type().c_str(), placement.file_system->source().c_str(),
                 placement.file_system->host_point().c_str()));
    }
    return take_made(placement);
  }

  // What a given root stands for is the root of the first namespace.
  bool find_in_root(Placement& placement) const {
    const Placement& own_root = plan_.placements.front();
    if (earlier_.empty() && is_root(placement)) {
      placement.source = {MountSource::Kind::kPath, request_.root, 0, {}};
      return true;
    }
    const schema::MountNamespace& first = earlier_.empty() ? record_ : earlier_.front()->mnt();
    const schema::Mount& root = earlier_.empty() ? *own_root.mount : first.mounts(0);
    const MountedFileSystem* file_system = file_system_of(first, root);
    std::string below;
    if (file_system == nullptr || root.external() ||
        file_system->device() != placement.file_system->device() ||
        !is_below(placement.mount->root(), root.root(), &below))
      return false;
    if (earlier_.empty())
      placement.source = {MountSource::Kind::kMount, {}, 0, std::move(below)};
    else
      placement.source = {MountSource::Kind::kPath, request_.root + "/" + below, 0, {}};
    return true;
  }

  // ---- Other namespaces of the tree

  static const MountedFileSystem* file_system_of(const schema::MountNamespace& table,
                                                 const schema::Mount& mount) {
    for (const MountedFileSystem& file_system : table.file_systems())
      if (file_system.id() == mount.file_system()) return &file_system;
    return nullptr;
  }

  // Of all mounts that `fits` says yes to, the one that shows most.
  template <class F>
  Elsewhere search(F fits) const {
    Elsewhere best;
    for (const schema::Namespace* space : earlier_)
      for (const schema::Mount& mount : space->mnt().mounts()) {
        if (best.mount != nullptr && mount.root().size() >= best.mount->root().size()) continue;
        const MountedFileSystem* file_system = file_system_of(space->mnt(), mount);
        // One that is made late is not there yet.
        if (file_system != nullptr && file_system->pid_namespace() == 0 &&
            fits(mount, *file_system) && can_be_taken(space->mnt(), mount))
          best = {space->id(), &mount, file_system};
      }
    return best;
  }

  Elsewhere group_elsewhere(uint32_t group) const {
    if (group == 0) return {};
    return search([&](const schema::Mount& mount, const MountedFileSystem&) {
      return mount.peers() == group;
    });
  }

  bool find_elsewhere(Placement& placement) {
    const MountedFileSystem& wanted = *placement.file_system;
    if (wanted.origin() != MountedFileSystem::MADE || earlier_.empty()) return false;
    std::string below;
    Elsewhere found = search([&](const schema::Mount& mount, const MountedFileSystem& candidate) {
      return candidate.device() == wanted.device() && candidate.type() == wanted.type() &&
             !mount.external() && is_below(placement.mount->root(), mount.root());
    });
    if (found.mount == nullptr) return false;
    (void)is_below(placement.mount->root(), found.mount->root(), &below);
    placement.source = {MountSource::Kind::kElsewhere, {}, add_elsewhere(found), std::move(below)};
    return true;
  }

  size_t add_elsewhere(const Elsewhere& elsewhere) {
    for (size_t i = 0; i < plan_.elsewhere.size(); i++)
      if (plan_.elsewhere[i].mount == elsewhere.mount) return i;
    plan_.elsewhere.push_back(elsewhere);
    return plan_.elsewhere.size() - 1;
  }

  Result<bool> join_elsewhere(uint32_t group, size_t index) {
    Elsewhere found = group_elsewhere(group);
    if (found.mount == nullptr) return false;
    const Placement& placement = plan_.placements[index];
    if (found.file_system->device() != placement.file_system->device() ||
        !is_below(placement.mount->root(), found.mount->root()))
      return Error::unsupported(
          strf("mount %s is in a group with mount %s of another mount namespace, which does not "
               "show what it shows; make it private before the dump",
               placement.mount->point().c_str(), found.mount->point().c_str()));
    plan_.spreads.push_back({Spread::Kind::kJoinElsewhere, index, add_elsewhere(found)});
    return true;
  }

  Result<> take_external(Placement& placement) const {
    const std::string& key = placement.mount->external_key();
    auto given = externals_.find(key);
    if (given == externals_.end())
      return Error::unsupported(
          strf("it was outside the tree, and nothing takes its place; give --external mnt[%s]:PATH",
               key.c_str()));
    placement.source = {MountSource::Kind::kPath, given->second, 0, {}};
    return {};
  }

  // A mount of a part of what an external mount shows, if that is all there is of it.
  bool find_external(Placement& placement) const {
    if (placement.file_system->origin() != MountedFileSystem::HOST || request_.root.empty())
      return false;
    return find_external_of(record_, placement) ||
           (!earlier_.empty() && find_external_of(earlier_.front()->mnt(), placement));
  }

  bool find_external_of(const schema::MountNamespace& table, Placement& placement) const {
    for (const schema::Mount& other : table.mounts()) {
      std::string below;
      auto given = externals_.find(other.external_key());
      if (!other.external() || given == externals_.end()) continue;
      const MountedFileSystem* file_system = file_system_of(table, other);
      if (file_system == nullptr || file_system->device() != placement.file_system->device() ||
          !is_below(placement.mount->root(), other.root(), &below))
        continue;
      placement.source = {
          MountSource::Kind::kPath, given->second + (below.empty() ? "" : "/" + below), 0, {}};
      return true;
    }
    return false;
  }

  // Of several the most likely one, of equals the one that shows most.
  bool find_host(Placement& placement) const {
    int best = 0;
    for (size_t i = 0; i < own_.size(); i++) {
      std::string below;
      if (!is_below(placement.mount->root(), own_[i].root, &below)) continue;
      int now = likeness(own_[i], *placement.file_system);
      bool wider =
          now == best && now != 0 && own_[i].root.size() < own_[placement.source.index].root.size();
      if (now <= best && !wider) continue;
      best = now;
      placement.source = {MountSource::Kind::kHost, own_[i].point, i, std::move(below)};
    }
    return best != 0;
  }

  Result<> take_made(Placement& placement) {
    const schema::Mount& mount = *placement.mount;
    const MountedFileSystem& made = *placement.file_system;
    std::string below;
    if (!is_below(mount.root(), "/", &below))
      return Error::malformed(strf("it shows \"%s\"", mount.root().c_str()));
    const bool terminal = made.type() == "devpts" && !below.empty();
    if (uses_[made.id()] == 1 && below.empty()) {
      placement.source = {MountSource::Kind::kMade, {}, 0, {}};
      return {};
    }
    auto [index, is_new] = shared_.try_emplace(made.id(), plan_.shared.size());
    if (is_new) plan_.shared.push_back(&made);
    placement.source = {terminal ? MountSource::Kind::kTerminal : MountSource::Kind::kShared,
                        {},
                        index->second,
                        std::move(below)};
    return {};
  }

  // ---- Who spreads to whom

  struct Group {
    std::vector<size_t> members;  // the one that shows most first
    uint32_t master = 0;
    bool done = false;
  };

  Result<> spread_all() {
    for (size_t i = 0; i < plan_.placements.size(); i++) {
      const schema::Mount& mount = *plan_.placements[i].mount;
      if (mount.peers() != 0) {
        groups_[mount.peers()].members.push_back(i);
        groups_[mount.peers()].master = mount.master();
      }
      if (mount.unbindable()) plan_.spreads.push_back({Spread::Kind::kUnbindable, i});
    }
    for (auto& [number, group] : groups_)
      std::stable_sort(group.members.begin(), group.members.end(), [this](size_t a, size_t b) {
        return plan_.placements[a].mount->root().size() < plan_.placements[b].mount->root().size();
      });
    for (auto& [number, group] : groups_) TRY(spread_group(group, 0));
    for (size_t i = 0; i < plan_.placements.size(); i++)
      if (plan_.placements[i].mount->peers() == 0) TRY(follow_master(i));
    return {};
  }

  // Masters first.
  Result<> spread_group(Group& group, size_t depth) {
    if (group.done) return {};
    constexpr size_t kDeepest = 200;
    if (depth > kDeepest)
      return Error::malformed("groups of mounts of the image follow each other without an end");
    auto master = groups_.find(group.master);
    if (group.master != 0 && master != groups_.end()) TRY(spread_group(master->second, depth + 1));
    group.done = true;
    const size_t first = group.members.front();
    Placement& leader = plan_.placements[first];
    if (TRY(join_elsewhere(leader.mount->peers(), first))) {
      leader.keeps_master = false;
    } else if (leader.mount->peers_outside() && leader.source.kind != MountSource::Kind::kMade &&
               leader.source.kind != MountSource::Kind::kNamespace &&
               leader.source.kind != MountSource::Kind::kShared) {
      plan_.spreads.push_back({Spread::Kind::kJoinSource, first});
    } else {
      TRY(follow_master(first));
      plan_.spreads.push_back({Spread::Kind::kShare, first});
    }
    for (size_t member : group.members) {
      if (member == first) continue;
      plan_.placements[member].keeps_master = false;
      TRY(join(first, member));
    }
    return {};
  }

  Result<> join(size_t from, size_t to) {
    const Placement& a = plan_.placements[from];
    const Placement& b = plan_.placements[to];
    if (a.file_system != b.file_system)
      return Error::malformed("mounts of different file systems are in one group");
    if (!is_below(b.mount->root(), a.mount->root()))
      return Error::unsupported(
          strf("mounts %s and %s share what is mounted below them, and neither shows the other's "
               "part; make them private before the dump",
               a.mount->point().c_str(), b.mount->point().c_str()));
    plan_.spreads.push_back({Spread::Kind::kJoin, to, from});
    return {};
  }

  Result<> follow_master(size_t index) {
    const uint32_t number = plan_.placements[index].mount->master();
    auto master = groups_.find(number);
    bool follows = number != 0 && master != groups_.end();
    if (follows)
      TRY(join(master->second.members.front(), index));
    else
      follows = TRY(join_elsewhere(number, index));
    if (!follows) return {};
    plan_.spreads.push_back({Spread::Kind::kSlave, index});
    return {};
  }

  const schema::MountNamespace& record_;
  const std::vector<MountLine>& own_;
  const RestoreRequest& request_;
  const std::vector<const schema::Namespace*>& earlier_;
  std::unordered_map<std::string, std::string> externals_;
  std::unordered_map<uint32_t, const MountedFileSystem*> file_systems_;
  std::unordered_map<uint32_t, int> uses_;       // mounts of a file system that are not external
  std::unordered_map<uint32_t, size_t> shared_;  // index in plan_.shared
  std::map<uint32_t, Group> groups_;
  MountPlan plan_;
};

}  // namespace

Result<MountPlan> plan_mounts(const schema::MountNamespace& record,
                              const std::vector<MountLine>& own, const RestoreRequest& request,
                              const std::vector<const schema::Namespace*>& earlier) {
  return Planner(record, own, request, earlier).plan();
}

}  // namespace ncr::mount_namespace
