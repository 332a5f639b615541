// Its table is a copy of the caller's; it gets mounts from there and gives none back. What is taken
// over is copied from it first. What several mounts show stands in a workshop, a tmpfs on top of
// the old root. Of a namespace that belongs to a user namespace below, what was mounted there is
// made with the rights of that one: a file system belongs to who makes it, and device nodes are
// none there (kernel: sget_fc, SB_I_NODEV). Root task.
#include "engine/resources/mount_namespace/mount_sources.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "engine/base/procfs.h"
#include "engine/base/undo.h"
#include "engine/resources/autofs/autofs.h"
#include "engine/resources/mount_namespace/bound_namespaces.h"
#include "engine/resources/mount_namespace/memory_files.h"
#include "engine/resources/mount_namespace/mount_calls.h"
#include "engine/resources/mount_namespace/mount_table.h"
#include "engine/resources/mount_namespace/taken_mounts.h"

namespace ncr::mount_namespace {
namespace {

Result<> check_is(const Elsewhere& elsewhere, const Fd& top) {
  std::string text = TRY(procfs::read_file("thread-self/mountinfo"));
  std::vector<MountLine> lines = TRY(parse_mountinfo(text));
  const uint32_t id = TRY(mount_id_of(top));
  for (const MountLine& line : lines)
    if (line.id == id && line.type == elsewhere.file_system->type()) return {};
  return Error::unsupported("it is shared with this one, and covered there");
}

}  // namespace

MountSources::MountSources(const NamespaceBuild& build, const MountPlan& plan,
                           const std::vector<MountLine>& own, BuiltMounts& built)
    : build_(build), plan_(plan), own_(own), built_(built), shared_(plan.shared.size()) {
  if (build.taken != nullptr) mounts_ = std::move(*build.taken);
  mounts_.resize(plan.placements.size());
}

void MountSources::remove_names() {
  for (const Named& named : named_)
    (void)::unlinkat(named.directory.get(), named.name.c_str(), named.flags);
  named_.clear();
}

Result<> MountSources::take_from_outside() {
  TRY(take_elsewhere());
  TRY(take_paths());
  TRY(set_propagation_of_all(MS_SLAVE));
  TRY(take_host_mounts());
  return open_workshop();
}

Result<> MountSources::move_to_copy() {
  workshop_ = TRY(sys::open("/", O_PATH | O_DIRECTORY));
  return {};
}

// A copy may be in a group with what it was copied from.
Result<> MountSources::part(const Placement& placement, const Fd& copy) {
  return set_propagation(copy, placement.keeps_master ? MS_SLAVE : MS_PRIVATE);
}

// We may not be allowed to go where the root is that was given.
Result<Fd> MountSources::copy_of_path(const std::string& path) const {
  const std::string& root = build_.request.root;
  const bool below = path.size() > root.size() && path.starts_with(root) &&
                     (root.ends_with('/') || path[root.size()] == '/');
  if (build_.given_root < 0 || (path != root && !below)) return copy_mount_at(path);
  const size_t start = std::min(path.find_first_not_of('/', root.size()), path.size());
  Fd given(TRY(SYSCALL(::fcntl(build_.given_root, F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC")));
  Fd there = TRY_WHILE(open_below(given, path.substr(start)), "%s", path.c_str());
  return copy_mount(there);
}

Result<> MountSources::take_paths() {
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
Result<> MountSources::take_elsewhere() {
  built_.elsewhere.resize(plan_.elsewhere.size());
  if (plan_.elsewhere.empty()) return {};
  Undo back([this] { (void)build_.enter_mounts(build_.record.id()); });
  for (size_t i = 0; i < plan_.elsewhere.size(); i++)
    TRY_WHILE(take_elsewhere(i), "mount %s of another mount namespace of the tree",
              plan_.elsewhere[i].mount->point().c_str());
  back.cancel();
  in_another_namespace_ = false;
  return build_.enter_mounts(build_.record.id());
}

Result<> MountSources::take_elsewhere(size_t index) {
  const Elsewhere& elsewhere = plan_.elsewhere[index];
  TRY(build_.enter_mounts(elsewhere.space));
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

// ---- Mounts of the caller

Result<> MountSources::take_host_mounts() {
  std::unordered_map<size_t, std::vector<size_t>> wanted;  // line -> placements
  for (size_t i = 0; i < plan_.placements.size(); i++)
    if (plan_.placements[i].source.kind == MountSource::Kind::kHost && !mounts_[i].valid())
      wanted[plan_.placements[i].source.index].push_back(i);
  for (size_t index : children_first(own_)) {
    auto placements = wanted.find(index);
    if (placements == wanted.end()) continue;
    for (size_t i : placements->second) {
      Result<> taken = take_host_mount(own_[index], i);
      if (!taken.ok() && i == 0 && !build_.hand_down) taken = take_host_tree(own_[index]);
      if (taken.ok()) continue;
      refused_.emplace(
          i, taken.take_error().while_doing(strf("a copy of %s", own_[index].point.c_str())));
    }
  }
  return {};
}

// In a user namespace mounts may be locked together.
Result<> MountSources::take_host_tree(const MountLine& line) {
  Fd root = TRY(open_mount(line));
  Fd from = TRY(open_below(root, plan_.placements[0].source.below));
  mounts_[0] = TRY(copy_mount_with_children(from));
  keeps_tree_ = true;
  return part(plan_.placements[0], mounts_[0]);
}

Result<> MountSources::take_host_mount(const MountLine& line, size_t index) {
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
Result<Fd> MountSources::open_part(const Fd& mount, const std::string& below, Fd* alone) {
  Result<Fd> part_of = open_below(mount, below);
  if (part_of.ok() || part_of.error().os_error() != EXDEV) return part_of;
  *alone = TRY(copy_mount(mount));
  TRY(set_propagation(*alone, MS_SLAVE));  // a copy of it may have to keep that master
  // Of a mount that is nowhere an older kernel copies no part.
  if (!in_another_namespace_) {
    TRY(open_workshop());
    (void)TRY(place_in_workshop(strf("part-%zu", parts_++), *alone));
  }
  return open_below(*alone, below);
}

// ---- The new tree

Result<> MountSources::open_workshop() {
  if (workshop_.valid()) return {};
  schema::MountedFileSystem tmpfs;
  tmpfs.set_type("tmpfs");
  workshop_ = TRY(make_file_system(tmpfs));
  Fd root = TRY(sys::open("/", O_PATH | O_DIRECTORY));
  return put_in_place(workshop_, root);
}

Result<Fd> MountSources::place_in_workshop(const std::string& name, const Fd& mount) {
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

Result<> MountSources::in_new_tree(const std::function<Result<>()>& work) {
  Fd outside = TRY(sys::open("/", O_PATH | O_DIRECTORY));
  TRY(SYSCALL(::fchdir(mounts_[0].get()), "enter the new root"));
  TRY(SYSCALL(::chroot("."), "chroot to the new root"));
  Result<> done = work();
  TRY(SYSCALL(::fchdir(outside.get()), "leave the new root"));
  TRY(SYSCALL(::chroot("."), "chroot to the old root"));
  return done;
}

// Its options are paths in the new tree.
Result<Fd> MountSources::make_overlay(const schema::MountedFileSystem& file_system) {
  if (has_long_options(file_system)) return make_overlay_by_mount(file_system);
  Result<Fd> made = Error(ErrorCode::kSystem, "not made");
  auto make = [&]() -> Result<> {
    made = make_file_system(file_system);
    return {};
  };
  TRY(in_new_tree(make));
  return made;
}

Result<Fd> MountSources::make_overlay_by_mount(const schema::MountedFileSystem& file_system) {
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
Result<> MountSources::check_has_files(const schema::MountedFileSystem& file_system) const {
  if (file_system.nodes_size() != 0) return {};
  for (const Placement& placement : plan_.placements)
    if (placement.file_system == &file_system && !placement.mount->has_removed())
      return Error::malformed("the image does not have its files");
  return {};
}

Result<Fd> MountSources::make_empty(const schema::MountedFileSystem& file_system) {
  return file_system.type() == "overlay" ? make_overlay(file_system)
                                         : make_file_system(file_system);
}

// It leaves the descriptor where we know to find it.
Result<Fd> MountSources::make_as_owner(const schema::MountedFileSystem& file_system) {
  Fd place = TRY(sys::open("/", O_PATH | O_DIRECTORY));
  auto leave = [&]() -> Result<> {
    const Fd made = TRY(make_empty(file_system));
    TRY(SYSCALL(::dup3(made.get(), place.get(), O_CLOEXEC), "dup3"));
    return {};
  };
  TRY(build_.as_owner(leave));
  return place;
}

Result<Fd> MountSources::make_autofs(const schema::MountedFileSystem& file_system) {
  autofs::Made made = TRY(autofs::make(file_system));
  if (build_.autofs != nullptr && made.open.device.valid())
    (*build_.autofs)[file_system.id()] = std::move(made.open);
  return std::move(made.mount);
}

Result<Fd> MountSources::make(const schema::MountedFileSystem& file_system) {
  if (file_system.type() == autofs::kType) return make_autofs(file_system);
  const bool by_owner = build_.as_owner && file_system.made_below();
  Fd made = TRY(by_owner ? make_as_owner(file_system) : make_empty(file_system));
  if (is_in_memory(file_system.type())) {
    TRY(check_has_files(file_system));
    auto fill = [&] { return make_memory_files(build_.image, file_system, made); };
    TRY(by_owner ? build_.as_owners_user(fill) : fill());
    TRY(finish_file_system(file_system, made));
  }
  return made;
}

Result<> MountSources::make_shared(size_t index) {
  if (shared_[index].valid()) return {};
  shared_[index] = TRY(make(*plan_.shared[index]));
  TRY(place_in_workshop(strf("%zu", index), shared_[index]));
  return {};
}

Result<Fd> MountSources::copy_of_part(const Fd& whole, const Placement& placement) {
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
Result<Fd> MountSources::copy_of_removed(const Fd& whole, const Placement& placement) {
  const schema::FileNode& node = placement.mount->removed();
  const std::string& below = placement.source.below;
  const size_t slash = below.rfind('/');
  if (below.empty()) return Error::malformed("the root of a file system cannot be removed");
  Fd alone;
  Fd directory =
      TRY(open_part(whole, slash == std::string::npos ? "" : below.substr(0, slash), &alone));
  std::string name;
  auto make = [&]() -> Result<> {
    name = TRY(make_removed(build_.image, node, directory, below.substr(slash + 1)));
    return {};
  };
  const bool by_owner = build_.as_owners_user && placement.file_system->made_below();
  TRY(by_owner ? build_.as_owners_user(make) : make());
  named_.push_back({std::move(directory), name, S_ISDIR(node.mode()) ? AT_REMOVEDIR : 0});
  Fd from = TRY(open_below(named_.back().directory, name));
  Fd copy = TRY(copy_mount(from));
  TRY(set_propagation(copy, MS_PRIVATE));
  return copy;
}

Result<> MountSources::take(size_t index) {
  const Placement& placement = plan_.placements[index];
  if (auto refused = refused_.find(index); refused != refused_.end())
    return std::move(refused->second);
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

}  // namespace ncr::mount_namespace
