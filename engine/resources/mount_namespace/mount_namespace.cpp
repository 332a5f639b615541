// Mount namespace (struct mnt_namespace): the tree of mounts that paths are looked up in. What is
// mounted where: mountinfo.h. What of it is the tree's own, what the machine's: mount_table.h. The
// files of a tmpfs: memory_files.h. How it comes back: mount_plan.h, mount_build.h. Userspace
// cannot see how owners are mapped on an id-mapped mount, nor what is behind FUSE.
// dump runs on a thread of the engine that has entered the namespace, build in the root task.
#include <sched.h>

#include <algorithm>
#include <memory>
#include <set>

#include "engine/base/procfs.h"
#include "engine/resources/autofs/autofs.h"
#include "engine/resources/mount_namespace/bound_namespaces.h"
#include "engine/resources/mount_namespace/cgroup_mounts.h"
#include "engine/resources/mount_namespace/content_reader.h"
#include "engine/resources/mount_namespace/late_mounts.h"
#include "engine/resources/mount_namespace/locked_mounts.h"
#include "engine/resources/mount_namespace/mount_build.h"
#include "engine/resources/mount_namespace/mount_table.h"
#include "engine/resources/mount_namespace/proc_mounts.h"
#include "engine/resources/mount_namespace/taken_mounts.h"
#include "engine/resources/room.h"
#include "engine/tree/user_spaces.h"

namespace ncr::mount_namespace {
namespace {

Result<std::vector<MountLine>> read_table(const Fd& directory, const char* path) {
  return parse_mountinfo(TRY(sys::read_file_at(directory, path)));
}

// ---- Dump

// That of the namespace that the root of the tree is in; empty if that is the engine's, or this.
Result<std::vector<MountLine>> table_of_root(const NamespaceProbe& probe) {
  if (probe.of_root || (probe.request.root.empty() && probe.request.externals.empty()))
    return std::vector<MountLine>();
  const Fd& root = probe.tasks.front().proc;
  const std::string own = TRY(sys::read_link_at(root, "../self/ns/mnt"));
  if (TRY(sys::read_link_at(root, "ns/mnt")) == own) return std::vector<MountLine>();
  return read_table(root, "mountinfo");
}

// Each network namespace has a sysfs of its own; only who owns one can mount it.
Result<> refuse_own_sysfs(const NamespaceProbe& probe, const std::vector<MountLine>& lines,
                          std::vector<Refusal>* refusals) {
  std::set<uint64_t> of_root;
  for (const MountLine& line : TRY(read_table(probe.tasks.front().proc, "mountinfo")))
    if (line.type == "sysfs") of_root.insert(line.device);
  for (const MountLine& line : lines)
    if (line.type == "sysfs" && !of_root.contains(line.device))
      refusals->push_back({strf("mount %s (sysfs)", line.point.c_str()),
                           "a user namespace below the root's mounted it for a network namespace "
                           "of its own",
                           "unmount it before the dump"});
  return {};
}

Result<> dump(const NamespaceProbe& probe, schema::Namespace* record, Blockers& blockers) {
  std::vector<MountLine> lines = TRY(read_table(probe.member.proc, "../thread-self/mountinfo"));
  // The engine's own: /proc here is the tree's, that of the descriptor is not.
  std::vector<MountLine> own = TRY(read_table(probe.member.proc, "../self/mountinfo"));
  std::vector<Refusal> refusals;
  const std::vector<MountLine> of_root = TRY(table_of_root(probe));
  Given given;
  if (probe.of_root || !of_root.empty()) given.table = probe.of_root ? &lines : &of_root;
  if (given.table != nullptr && !probe.request.root.empty()) given.root = root_of(*given.table);
  schema::MountNamespace table = TRY(describe_table(lines, own, probe.request, given, &refusals));
  find_bound_namespaces(probe, lines, own, &table, &refusals);
  find_shown_pid_namespaces(probe, &table);
  autofs::look(probe, &table, &refusals);
  if (probe.below) {
    find_locks(probe, lines, &table, &refusals);
    TRY(refuse_own_sysfs(probe, lines, &refusals));
  }
  for (Refusal& refusal : refusals)
    blockers.add(probe.member, std::move(refusal.object), std::move(refusal.reason),
                 std::move(refusal.way_out));
  TRY(read_content(probe, lines, given.root, &table, blockers));
  *record->mutable_mnt() = std::move(table);
  return {};
}

// ---- Restore

uint32_t user_namespace_of_root(const Image& image) {
  if (image.tasks.empty()) return 0;
  for (uint32_t id : image.tasks[0].namespaces())
    for (const schema::Namespace& space : image.namespaces)
      if (space.id() == id && space.has_user()) return id;
  return 0;
}

// As whoever mounts it sees it.
schema::MountNamespace table_of(const Image& image, const schema::Namespace& record) {
  schema::MountNamespace table = record.mnt();
  const uint32_t of_root = user_namespace_of_root(image);
  for (schema::MountedFileSystem& file_system : *table.mutable_file_systems()) {
    const uint32_t maker = file_system.made_below() ? record.owner() : of_root;
    if (maker != 0 && record.owner() != 0)
      number_owners(maps_from_outside(image.namespaces, maker), &file_system);
  }
  for (const schema::Namespace& space : image.namespaces) {
    if (space.has_cgroup()) see_from(space.cgroup(), &table);
  }
  return table;
}

std::vector<const schema::Namespace*> built_before(const Image& image,
                                                   const schema::Namespace& record) {
  std::vector<const schema::Namespace*> earlier;
  for (const schema::Namespace& space : image.namespaces) {
    if (space.id() == record.id()) break;
    if (space.has_mnt() && space.mnt().mounts_size() != 0) earlier.push_back(&space);
  }
  return earlier;
}

// A root is given to the namespace that the root of the tree is in, which need not be one of these.
RestoreRequest with_root_of_tree(const Image& image, RestoreRequest request) {
  if (image.tasks.empty()) return request;
  const auto& spaces = image.tasks[0].namespaces();
  const bool takes_it = std::any_of(
      image.namespaces.begin(), image.namespaces.end(), [&](const schema::Namespace& space) {
        return space.has_mnt() && space.mnt().mounts_size() != 0 &&
               std::find(spaces.begin(), spaces.end(), space.id()) != spaces.end();
      });
  if (!takes_it) request.root.clear();
  return request;
}

// In a user namespace the caller's mounts are locked together: none can be copied alone.
Result<std::vector<Fd>> take(const Image& image, const RestoreRequest& request,
                             const schema::Namespace& record) {
  if (record.owner() == 0) return std::vector<Fd>();
  const schema::MountNamespace table = table_of(image, record);
  return take_mounts([&](const std::vector<MountLine>& own) {
    return plan_mounts(table, own, with_root_of_tree(image, request), built_before(image, record));
  });
}

// Of a table, and what it points into. The same each time.
struct Plan {
  std::vector<MountLine> own;
  std::vector<const schema::Namespace*> earlier;
  schema::MountNamespace table;
  RestoreRequest request;
  MountPlan mounts;
};

Result<std::unique_ptr<Plan>> plan_for(const NamespaceBuild& build) {
  auto plan = std::make_unique<Plan>();
  std::string table_now = build.mount_table;
  if (table_now.empty()) table_now = TRY(procfs::read_file("self/mountinfo"));
  plan->own = TRY(parse_mountinfo(table_now));
  if (build.enter_mounts) plan->earlier = built_before(build.image, build.record);
  plan->table = table_of(build.image, build.record);
  plan->request = with_root_of_tree(build.image, build.request);
  plan->mounts = TRY(plan_mounts(plan->table, plan->own, plan->request, plan->earlier));
  return plan;
}

Result<> build(const NamespaceBuild& build) {
  if (build.record.empty()) return {};  // a copy of the caller's
  const std::unique_ptr<Plan> plan = TRY(plan_for(build));
  return build_mounts(build, plan->mounts, plan->own);
}

Result<> finish(const NamespaceBuild& build, uint32_t pid_namespace) {
  const std::unique_ptr<Plan> plan = TRY(plan_for(build));
  return finish_mounts(build, plan->mounts, pid_namespace, *static_cast<BuiltMounts*>(build.kept));
}

}  // namespace

extern const NamespaceRoom kRoom = {.name = "mnt",
                                    .kind = schema::Namespace::kMnt,
                                    .clone_flag = CLONE_NEWNS,
                                    .dump = dump,
                                    .take = take,
                                    .build = build,
                                    .finish = finish};

}  // namespace ncr::mount_namespace
