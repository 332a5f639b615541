// From what each mount of a table is taken: a file system of whoever restores, one made anew, or a
// copy of another mount. The order is mount_order.cpp's, who spreads to whom mount_spread.cpp's;
// all mounts are private until then, so that nothing spreads while they are put in place. What
// another namespace of the tree has as well is copied from there.
#include "engine/resources/mount_namespace/mount_plan.h"

#include <sys/sysmacros.h>

#include <unordered_map>

#include "engine/resources/mount_namespace/earlier_mounts.h"
#include "engine/resources/mount_namespace/mount_order.h"
#include "engine/resources/mount_namespace/mount_spread.h"

namespace ncr::mount_namespace {
namespace {

using schema::MountedFileSystem;

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
    plan_.placements = TRY(order_mounts(record_));
    for (const schema::Mount& mount : record_.mounts())
      if (!mount.external()) uses_[mount.file_system()]++;
    if (plan_.placements.front().late != 0)
      return Error::malformed("the root shows processes below that of the tree");
    for (Placement& placement : plan_.placements)
      TRY_WHILE(find_source(placement), "mount %s", placement.mount->point().c_str());
    TRY(plan_spreads(earlier_, &plan_));
    return std::move(plan_);
  }

 private:
  bool is_root(const Placement& placement) const { return &placement == plan_.placements.data(); }

  Result<> find_source(Placement& placement) {
    const schema::Mount& mount = *placement.mount;
    if (climbs(mount.root())) return Error::malformed("it shows a part that climbs out of it");
    placement.keeps_master = mount.master_outside() && !earlier_.of_group(mount.master()).mount;
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
    if (earlier_.first() == nullptr && is_root(placement)) {
      placement.source = {MountSource::Kind::kPath, request_.root, 0, {}};
      return true;
    }
    const schema::MountNamespace& first = earlier_.first() == nullptr ? record_ : *earlier_.first();
    const schema::Mount& root = earlier_.first() == nullptr ? *own_root.mount : first.mounts(0);
    const MountedFileSystem* file_system = file_system_of(first, root);
    std::string below;
    if (file_system == nullptr || root.external() ||
        file_system->device() != placement.file_system->device() ||
        !is_below(placement.mount->root(), root.root(), &below))
      return false;
    if (earlier_.first() == nullptr)
      placement.source = {MountSource::Kind::kMount, {}, 0, std::move(below)};
    else
      placement.source = {MountSource::Kind::kPath, request_.root + "/" + below, 0, {}};
    return true;
  }

  bool find_elsewhere(Placement& placement) {
    const MountedFileSystem& wanted = *placement.file_system;
    if (wanted.origin() != MountedFileSystem::MADE || earlier_.first() == nullptr) return false;
    std::string below;
    Elsewhere found =
        earlier_.search([&](const schema::Mount& mount, const MountedFileSystem& candidate) {
          return candidate.device() == wanted.device() && candidate.type() == wanted.type() &&
                 !mount.external() && is_below(placement.mount->root(), mount.root());
        });
    if (found.mount == nullptr) return false;
    (void)is_below(placement.mount->root(), found.mount->root(), &below);
    placement.source = {MountSource::Kind::kElsewhere, {}, add(found, &plan_), std::move(below)};
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
           (earlier_.first() != nullptr && find_external_of(*earlier_.first(), placement));
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

  const schema::MountNamespace& record_;
  const std::vector<MountLine>& own_;
  const RestoreRequest& request_;
  const EarlierMounts earlier_;
  std::unordered_map<std::string, std::string> externals_;
  std::unordered_map<uint32_t, int> uses_;       // mounts of a file system that are not external
  std::unordered_map<uint32_t, size_t> shared_;  // index in plan_.shared
  MountPlan plan_;
};

}  // namespace

Result<MountPlan> plan_mounts(const schema::MountNamespace& record,
                              const std::vector<MountLine>& own, const RestoreRequest& request,
                              const std::vector<const schema::Namespace*>& earlier) {
  return Planner(record, own, request, earlier).plan();
}

}  // namespace ncr::mount_namespace
