// Runs in the root task. Its table is a copy of the caller's; it gets mounts from there and gives
// none back. What is taken over is copied from it first, while paths still are the caller's. The
// new tree grows in a workshop, a tmpfs on top of the old root: file systems that several mounts
// show stand beside it. In the end its root becomes the namespace's, and the old root with all on
// top of it is dropped.
#include "engine/resources/mount_namespace/mount_build.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "engine/base/procfs.h"
#include "engine/base/undo.h"
#include "engine/resources/mount_namespace/bound_namespaces.h"
#include "engine/resources/mount_namespace/kept_tree.h"
#include "engine/resources/mount_namespace/late_mounts.h"
#include "engine/resources/mount_namespace/memory_files.h"
#include "engine/resources/mount_namespace/mount_calls.h"
#include "engine/resources/mount_namespace/mount_table.h"
#include "engine/resources/mount_namespace/taken_mounts.h"

namespace ncr::mount_namespace {
namespace {

class Builder {
 public:
  Builder(const NamespaceBuild& build, const MountPlan& plan, const std::vector<MountLine>& own)
      : build_(build),
        image_(build.image),
        plan_(plan),
        own_(own),
        enter_(build.enter_mounts),
        id_(build.record.id()),
        shared_(plan.shared.size()),
        needed_(plan.placements.size()) {
    if (build.taken != nullptr) mounts_ = std::move(*build.taken);
    mounts_.resize(plan.placements.size());
    needed_[0] = true;
    for (const Placement& placement : plan_.placements) {
      needed_[placement.parent] = true;
      if (placement.source.kind == MountSource::Kind::kMount)
        needed_[placement.source.index] = true;
    }
    for (const Spread& spread : plan_.spreads) {
      needed_[spread.placement] = true;
      if (spread.kind == Spread::Kind::kJoin) needed_[spread.from] = true;
    }
    if (build.hidden == nullptr) return;
    for (const auto& [id, file] : image_.files)
      if (file.regular_file().hidden_mount() != 0 && file.mount_namespace() == id_)
        hidden_.emplace(file.regular_file().hidden_mount(), &file);
  }

  ~Builder() { remove_names(); }

  Result<> build() {
    TRY(take_elsewhere());
    TRY(take_paths());
    TRY(set_propagation_of_all(MS_SLAVE));
    TRY(take_host_mounts());
    TRY(open_workshop());
    for (size_t i = 0; i < plan_.placements.size(); i++)
      TRY_WHILE(place(i), "mount %s", plan_.placements[i].mount->point().c_str());
    for (const Spread& spread : plan_.spreads)
      if (!is_late(plan_, spread))
        TRY_WHILE(apply(spread, built_), "mount %s",
                  plan_.placements[spread.placement].mount->point().c_str());
    remove_names();
    TRY(enter());
    return leave_late_mounts();
  }

 private:
  struct Named {
    Fd directory;
    std::string name;
    int flags;  // of unlinkat(2)
  };

  void remove_names() {
    for (const Named& named : named_)
      (void)::unlinkat(named.directory.get(), named.name.c_str(), named.flags);
    named_.clear();
  }

  // A copy may be in a group with what it was copied from.
  static Result<> part(const Placement& placement, const Fd& copy) {
    return set_propagation(copy, placement.keeps_master ? MS_SLAVE : MS_PRIVATE);
  }

  // We may not be allowed to go where the root is that was given.
  Result<Fd> copy_of_path(const std::string& path) const {
    const std::string& root = build_.request.root;
    const bool below = path.size() > root.size() && path.starts_with(root) &&
                       (root.ends_with('/') || path[root.size()] == '/');
    if (build_.given_root < 0 || (path != root && !below)) return copy_mount_at(path);
    const size_t start = std::min(path.find_first_not_of('/', root.size()), path.size());
    Fd given(TRY(SYSCALL(::fcntl(build_.given_root, F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC")));
    Fd there = TRY_WHILE(open_below(given, path.substr(start)), "%s", path.c_str());
    return copy_mount(there);
  }

  Result<> take_paths() {
    for (const Spread& spread : plan_.spreads)
      if (spread.kind == Spread::Kind::kJoinSource)
        built_.sources[spread.placement] =
            TRY(copy_of_path(plan_.placements[spread.placement].source.path));
    for (size_t i = 0; i < plan_.placements.size(); i++) {
      const Placement& placement = plan_.placements[i];
      if (placement.source.kind != MountSource::Kind::kPath || mounts_[i].valid()) continue;
      mounts_[i] = TRY_WHILE(copy_of_path(placement.source.path), "mount %s",
                             placement.mount->point().c_str());
      TRY(part(placement, mounts_[i]));
    }
    return {};
  }

  // ---- Mounts of other namespaces of the tree

  // The kernel copies mounts only of the namespace that one is in.
  Result<> take_elsewhere() {
    built_.elsewhere.resize(plan_.elsewhere.size());
    if (plan_.elsewhere.empty()) return {};
    Undo back([this] { (void)enter_(id_); });
    for (size_t i = 0; i < plan_.elsewhere.size(); i++)
      TRY_WHILE(take_elsewhere(i), "mount %s of another mount namespace of the tree",
                plan_.elsewhere[i].mount->point().c_str());
    back.cancel();
    in_another_namespace_ = false;
    return enter_(id_);
  }

  Result<> take_elsewhere(size_t index) {
    const Elsewhere& elsewhere = plan_.elsewhere[index];
    TRY(enter_(elsewhere.space));
    in_another_namespace_ = true;
    Fd top = TRY(sys::open(elsewhere.mount->point().c_str(), O_PATH | O_NOFOLLOW));
    TRY(check_is(elsewhere, top));
    for (size_t i = 0; i < plan_.placements.size(); i++) {
      const MountSource& source = plan_.placements[i].source;
      if (source.kind == MountSource::Kind::kElsewhere && source.index == index)
        mounts_[i] = TRY(copy_of_part(top, plan_.placements[i]));
    }
    built_.elsewhere[index] = std::move(top);
    return {};
  }

  static Result<> check_is(const Elsewhere& elsewhere, const Fd& top) {
    std::string text = TRY(procfs::read_file("thread-self/mountinfo"));
    std::vector<MountLine> lines = TRY(parse_mountinfo(text));
    const uint32_t id = TRY(mount_id_of(top));
    for (const MountLine& line : lines)
      if (line.id == id && line.type == elsewhere.file_system->type()) return {};
    return Error::unsupported("it is shared with this one, and covered there");
  }

  // ---- Mounts of the caller

  Result<> take_host_mounts() {
    std::unordered_map<size_t, std::vector<size_t>> wanted;  // line -> placements
    for (size_t i = 0; i < plan_.placements.size(); i++)
      if (plan_.placements[i].source.kind == MountSource::Kind::kHost && !mounts_[i].valid())
        wanted[plan_.placements[i].source.index].push_back(i);
    for (size_t index : children_first(own_)) {
      auto placements = wanted.find(index);
      if (placements == wanted.end()) continue;
      for (size_t i : placements->second) {
        Result<> taken = take_host_mount(own_[index], i);
        if (!taken.ok() && i == 0) taken = take_host_tree(own_[index]);
        if (taken.ok()) continue;
        refused_.emplace(
            i, taken.take_error().while_doing(strf("a copy of %s", own_[index].point.c_str())));
      }
    }
    return {};
  }

  // In a user namespace mounts may be locked together.
  Result<> take_host_tree(const MountLine& line) {
    Fd root = TRY(open_mount(line));
    Fd from = TRY(open_below(root, plan_.placements[0].source.below));
    mounts_[0] = TRY(copy_mount_with_children(from));
    keeps_tree_ = true;
    return part(plan_.placements[0], mounts_[0]);
  }

  Result<> take_host_mount(const MountLine& line, size_t index) {
    const Placement& placement = plan_.placements[index];
    Fd mount = TRY(open_mount(line));
    if (placement.mount->has_removed()) {
      mounts_[index] = TRY(copy_of_removed(mount, placement));
      return {};
    }
    Fd alone;
    Fd from = TRY(open_part(mount, placement.source.below, &alone));
    mounts_[index] = TRY(copy_mount(from));
    return part(placement, mounts_[index]);
  }

  // What is mounted on the way may hide it from us: it is found in a copy of this mount alone.
  Result<Fd> open_part(const Fd& mount, const std::string& below, Fd* alone) {
    Result<Fd> part_of = open_below(mount, below);
    if (part_of.ok() || part_of.error().os_error() != EXDEV) return part_of;
    *alone = TRY(copy_mount(mount));
    TRY(set_propagation(*alone, MS_PRIVATE));
    // Of a mount that is nowhere an older kernel copies no part.
    if (!in_another_namespace_) {
      TRY(open_workshop());
      (void)TRY(place_in_workshop(strf("part-%zu", parts_++), *alone));
    }
    return open_below(*alone, below);
  }

  // ---- The new tree

  Result<> open_workshop() {
    if (workshop_.valid()) return {};
    schema::MountedFileSystem tmpfs;
    tmpfs.set_type("tmpfs");
    workshop_ = TRY(make_file_system(tmpfs));
    Fd root = TRY(sys::open("/", O_PATH | O_DIRECTORY));
    return put_in_place(workshop_, root);
  }

  Result<Fd> place_in_workshop(const std::string& name, const Fd& mount) {
    struct stat status {};
    TRY(SYSCALL(::fstat(mount.get(), &status), "stat %s", name.c_str()));
    if (S_ISDIR(status.st_mode))
      TRY(SYSCALL(::mkdirat(workshop_.get(), name.c_str(), 0700), "mkdir %s", name.c_str()));
    else
      TRY(SYSCALL(::mknodat(workshop_.get(), name.c_str(), S_IFREG | 0600, 0), "mknod %s",
                  name.c_str()));
    Fd point = TRY(sys::open_at(workshop_, name.c_str(), O_PATH));
    TRY(put_in_place(mount, point));
    return point;
  }

  Result<> in_new_tree(const std::function<Result<>()>& work) {
    Fd outside = TRY(sys::open("/", O_PATH | O_DIRECTORY));
    TRY(SYSCALL(::fchdir(mounts_[0].get()), "enter the new root"));
    TRY(SYSCALL(::chroot("."), "chroot to the new root"));
    Result<> done = work();
    TRY(SYSCALL(::fchdir(outside.get()), "leave the new root"));
    TRY(SYSCALL(::chroot("."), "chroot to the old root"));
    return done;
  }

  // Its options are paths in the new tree.
  Result<Fd> make_overlay(const schema::MountedFileSystem& file_system) {
    if (has_long_options(file_system)) return make_overlay_by_mount(file_system);
    Result<Fd> made = Error(ErrorCode::kSystem, "not made");
    auto make = [&]() -> Result<> {
      made = make_file_system(file_system);
      return {};
    };
    TRY(in_new_tree(make));
    return made;
  }

  Result<Fd> make_overlay_by_mount(const schema::MountedFileSystem& file_system) {
    const std::string name = strf("overlay-%u", file_system.id());
    TRY(SYSCALL(::mkdirat(workshop_.get(), name.c_str(), 0700), "mkdir %s", name.c_str()));
    Fd place = TRY(sys::open_at(workshop_, name.c_str(), O_PATH | O_DIRECTORY));
    auto make = [&]() -> Result<> {
      TRY(SYSCALL(::fchdir(place.get()), "enter the workshop"));
      return mount_here(file_system);
    };
    TRY(in_new_tree(make));
    Fd top = TRY(sys::open_at(workshop_, name.c_str(), O_PATH | O_DIRECTORY));
    return copy_mount(top);
  }

  // One that is read has a root at least. Of what was removed, each mount brings its own.
  Result<> check_has_files(const schema::MountedFileSystem& file_system) const {
    if (file_system.nodes_size() != 0) return {};
    for (const Placement& placement : plan_.placements)
      if (placement.file_system == &file_system && !placement.mount->has_removed())
        return Error::malformed("the image does not have its files");
    return {};
  }

  Result<Fd> make(const schema::MountedFileSystem& file_system) {
    const bool overlay = file_system.type() == "overlay";
    Fd made = TRY(overlay ? make_overlay(file_system) : make_file_system(file_system));
    if (is_in_memory(file_system.type())) {
      TRY(check_has_files(file_system));
      TRY(make_memory_files(image_, file_system, made));
      TRY(finish_file_system(file_system, made));
    }
    return made;
  }

  Result<> make_shared(size_t index) {
    if (shared_[index].valid()) return {};
    shared_[index] = TRY(make(*plan_.shared[index]));
    TRY(place_in_workshop(strf("%zu", index), shared_[index]));
    return {};
  }

  Result<Fd> copy_of_part(const Fd& whole, const Placement& placement) {
    const std::string& below = placement.source.below;
    if (placement.mount->has_removed()) return copy_of_removed(whole, placement);
    Fd alone;
    Fd from = TRY(open_part(whole, below, &alone));
    Fd copy = TRY(copy_mount(from));
    TRY(set_propagation(copy, MS_PRIVATE));
    return copy;
  }

  // It is made again, mounted, and loses its name again: a mount of what has no name cannot be put
  // in place.
  Result<Fd> copy_of_removed(const Fd& whole, const Placement& placement) {
    const schema::FileNode& node = placement.mount->removed();
    const std::string& below = placement.source.below;
    const size_t slash = below.rfind('/');
    if (below.empty()) return Error::malformed("the root of a file system cannot be removed");
    Fd alone;
    Fd directory =
        TRY(open_part(whole, slash == std::string::npos ? "" : below.substr(0, slash), &alone));
    std::string name = TRY(make_removed(image_, node, directory, below.substr(slash + 1)));
    named_.push_back({std::move(directory), name, S_ISDIR(node.mode()) ? AT_REMOVEDIR : 0});
    Fd from = TRY(open_below(named_.back().directory, name));
    Fd copy = TRY(copy_mount(from));
    TRY(set_propagation(copy, MS_PRIVATE));
    return copy;
  }

  Result<> take(size_t index) {
    const Placement& placement = plan_.placements[index];
    switch (placement.source.kind) {
      case MountSource::Kind::kMade:
        mounts_[index] = TRY(make(*placement.file_system));
        return {};
      case MountSource::Kind::kShared:
        TRY(make_shared(placement.source.index));
        mounts_[index] = TRY(copy_of_part(shared_[placement.source.index], placement));
        return {};
      case MountSource::Kind::kNamespace:
        mounts_[index] = TRY(copy_bound_namespace(build_, *placement.mount));
        return {};
      case MountSource::Kind::kMount:
        mounts_[index] = TRY(copy_of_part(mounts_[placement.source.index], placement));
        return {};
      default:
        return {};
    }
  }

  // A mount that is in the tree already, because that was copied as a whole.
  Result<bool> find_kept(size_t index) {
    const Placement& placement = plan_.placements[index];
    if (!keeps_tree_ || index == 0 || placement.source.kind != MountSource::Kind::kHost)
      return false;
    const MountLine& line = own_[placement.source.index];
    if (!TRY(kept_.find(mounts_[0], placement.mount->point(), line.device, placement.mount->root(),
                        &mounts_[index])))
      return false;
    if (!mounts_[index].valid()) return true;
    TRY(part(placement, mounts_[index]));
    TRY(set_attributes(mounts_[index], placement.mount->attributes()));
    return true;
  }

  // While nothing is mounted on it yet.
  Result<> keep_hidden(size_t index) {
    auto [first, last] = hidden_.equal_range(plan_.placements[index].mount->id());
    for (auto file = first; file != last; ++file) {
      const schema::RegularFile& wanted = file->second->regular_file();
      Result<Fd> kept = open_below(mounts_[index], wanted.hidden_path());
      if (!kept.ok() && wanted.has_ghost()) continue;
      (*build_.hidden)[file->second->id()] =
          TRY_WHILE(std::move(kept), "a file that other mounts hide");
    }
    return {};
  }

  // All but a procfs is there already.
  Result<> prepare_late(size_t index) {
    const Placement& placement = plan_.placements[index];
    auto refused = refused_.find(index);
    if (refused != refused_.end()) return std::move(refused->second);
    if (placement.file_system->pid_namespace() == 0) {
      TRY(take(index));
      TRY(set_attributes(mounts_[index], placement.mount->attributes()));
    }
    if (plan_.placements[placement.parent].late == 0)
      built_.points[index] = TRY_WHILE(open_below(mounts_[placement.parent], placement.point),
                                       "the place to mount at is not there");
    return {};
  }

  Result<> leave_late_mounts() {
    if (!TRY(built_.keep_for_later(plan_, build_.fd_base))) return {};
    if (build_.half_built == nullptr) return Error::unsupported("nobody finishes its mounts");
    *build_.half_built = std::make_unique<BuiltMounts>(std::move(built_));
    return {};
  }

  Result<> place(size_t index) {
    const Placement& placement = plan_.placements[index];
    if (placement.source.kind == MountSource::Kind::kTerminal) return {};
    if (placement.late != 0) return prepare_late(index);
    if (TRY(find_kept(index))) return {};
    auto refused = refused_.find(index);
    if (refused != refused_.end()) return std::move(refused->second);
    TRY(take(index));
    TRY(set_attributes(mounts_[index], placement.mount->attributes()));
    if (index == 0) {
      TRY(place_in_workshop("root", mounts_[0]));
      if (keeps_tree_) kept_ = TRY(KeptTree::read(mounts_[0]));
      return keep_hidden(index);
    }
    if (!mounts_[placement.parent].valid())
      return Error::unsupported("what it is mounted on is covered, and locked");
    Fd point = TRY_WHILE(open_below(mounts_[placement.parent], placement.point),
                         "the place to mount at is not there");
    TRY(put_in_place(mounts_[index], point));
    TRY(keep_hidden(index));
    if (!needed_[index]) mounts_[index].close();
    return {};
  }

  // pivot_root(2): with both places the same, the old root comes to lie on top of the new one. A
  // caller whose root is no mount point, or the very first one, cannot be moved away from; then
  // the new root is moved over it.
  Result<> enter() {
    TRY(SYSCALL(::fchdir(mounts_[0].get()), "enter the new root"));
    Result<long> pivoted = SYSCALL(::syscall(SYS_pivot_root, ".", "."), "pivot_root");
    if (pivoted.ok()) {
      // On top of the old root lies the workshop.
      TRY(SYSCALL(::umount2(".", MNT_DETACH), "unmount the workshop"));
      TRY(SYSCALL(::umount2(".", MNT_DETACH), "unmount the old root"));
    } else {
      Fd root = TRY(sys::open("/", O_PATH | O_DIRECTORY));
      TRY_WHILE(put_in_place(mounts_[0], root), "%s", pivoted.error().text().c_str());
      TRY(SYSCALL(::chroot("."), "chroot to the new root"));
    }
    TRY(SYSCALL(::chdir("/"), "chdir /"));
    return {};
  }

  const NamespaceBuild& build_;
  const Image& image_;
  const MountPlan& plan_;
  const std::vector<MountLine>& own_;
  const std::function<Result<>(uint32_t)>& enter_;
  const uint32_t id_;
  BuiltMounts built_;
  std::vector<Fd>& mounts_ = built_.mounts;
  std::vector<Fd> shared_;
  std::vector<bool> needed_;  // placements whose descriptor is used after they are in place
  std::unordered_map<size_t, Error> refused_;  // copies that could not be made
  std::vector<Named> named_;                   // what is to lose its name
  std::unordered_multimap<uint32_t, const schema::OpenFile*> hidden_;  // by id of the mount
  size_t parts_ = 0;                                                   // that stand in the workshop
  bool in_another_namespace_ = false;
  bool keeps_tree_ = false;  // the root was copied with all that is on it
  KeptTree kept_;
  Fd workshop_;
};

}  // namespace

Result<> build_mounts(const NamespaceBuild& build, const MountPlan& plan,
                      const std::vector<MountLine>& own) {
  return Builder(build, plan, own).build();
}

}  // namespace ncr::mount_namespace
