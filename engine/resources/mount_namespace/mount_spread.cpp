#include "engine/resources/mount_namespace/mount_spread.h"

#include <algorithm>
#include <map>

namespace ncr::mount_namespace {
namespace {

class Spreader {
 public:
  Spreader(const EarlierMounts& earlier, MountPlan* plan) : earlier_(earlier), plan_(*plan) {}

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

 private:
  struct Group {
    std::vector<size_t> members;  // the one that shows most first
    uint32_t master = 0;
    bool done = false;
  };

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

  Result<bool> join_elsewhere(uint32_t group, size_t index) {
    Elsewhere found = earlier_.of_group(group);
    if (found.mount == nullptr) return false;
    const Placement& placement = plan_.placements[index];
    if (found.file_system->device() != placement.file_system->device() ||
        !is_below(placement.mount->root(), found.mount->root()))
      return Error::unsupported(
          strf("mount %s is in a group with mount %s of another mount namespace, which does not "
               "show what it shows; make it private before the dump",
               placement.mount->point().c_str(), found.mount->point().c_str()));
    plan_.spreads.push_back({Spread::Kind::kJoinElsewhere, index, add(found, &plan_)});
    return true;
  }

  const EarlierMounts& earlier_;
  MountPlan& plan_;
  std::map<uint32_t, Group> groups_;
};

}  // namespace

Result<> plan_spreads(const EarlierMounts& earlier, MountPlan* plan) {
  return Spreader(earlier, plan).spread_all();
}

}  // namespace ncr::mount_namespace
