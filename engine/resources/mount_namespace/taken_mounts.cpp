// A mount namespace that belongs to a user namespace gets its mounts locked together when it is
// copied from the caller's (mount_namespaces(7)). A mount that was copied before, and is nowhere
// in place, is not locked: its descriptor is handed down, and whoever may mount in the new
// namespace puts it there (move_mount(2)). take_mounts runs in the coordinator, on a thread that
// has a copy of the caller's namespace to unmount in what covers others.
#include "engine/resources/mount_namespace/taken_mounts.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>
#include <unordered_map>

#include "engine/base/quiet_thread.h"
#include "engine/resources/mount_namespace/mount_calls.h"

namespace ncr::mount_namespace {
namespace {

// What is mounted on the way may hide it: it is found in a copy of this mount alone, on top of all
// that. Whoever opens the mount again takes the copy away.
Result<Fd> open_part(const Fd& top, const std::string& below) {
  Result<Fd> part = open_below(top, below);
  if (part.ok() || part.error().os_error() != EXDEV) return part;
  Fd alone = TRY(copy_mount(top));
  TRY(put_in_place(alone, top));
  return open_below(alone, below);
}

Result<Fd> take_one(const Placement& placement, const MountLine& line) {
  Fd top = TRY(open_mount(line));
  Fd from = TRY(open_part(top, placement.source.below));
  Fd copy = TRY(copy_mount(from));
  TRY(set_propagation(copy, placement.keeps_master ? MS_SLAVE : MS_PRIVATE));
  return copy;
}

Result<> take_paths(const MountPlan& plan, std::vector<Fd>* taken) {
  for (size_t i = 0; i < plan.placements.size(); i++) {
    const Placement& placement = plan.placements[i];
    if (placement.source.kind != MountSource::Kind::kPath) continue;
    Fd copy = TRY_WHILE(copy_mount_at(placement.source.path), "mount %s",
                        placement.mount->point().c_str());
    TRY(set_propagation(copy, placement.keeps_master ? MS_SLAVE : MS_PRIVATE));
    (*taken)[i] = std::move(copy);
  }
  return {};
}

Result<> take_all(const MakePlan& make_plan, std::vector<Fd>* taken) {
  TRY(SYSCALL(::unshare(CLONE_FS | CLONE_NEWNS), "a copy of the caller's mounts"));
  std::string text =
      TRY_WHILE(sys::read_file("/proc/thread-self/mountinfo"), "a restore needs a procfs at /proc");
  const std::vector<MountLine> own = TRY(parse_mountinfo(text));
  MountPlan plan = TRY(make_plan(own));
  taken->resize(plan.placements.size());
  TRY(take_paths(plan, taken));
  TRY(set_propagation_of_all(MS_SLAVE));
  for (size_t line : children_first(own))
    for (size_t i = 0; i < plan.placements.size(); i++) {
      const Placement& placement = plan.placements[i];
      if (placement.source.kind != MountSource::Kind::kHost || placement.source.index != line ||
          placement.mount->has_removed())
        continue;
      Result<Fd> copy = take_one(placement, own[line]);
      if (copy.ok()) (*taken)[i] = copy.take();
    }
  return {};
}

}  // namespace

std::vector<size_t> children_first(const std::vector<MountLine>& table) {
  std::unordered_map<uint32_t, std::vector<size_t>> children;
  std::unordered_map<uint32_t, bool> known;
  for (const MountLine& line : table) known[line.id] = true;
  std::vector<size_t> order;
  for (size_t i = 0; i < table.size(); i++) {
    if (known.contains(table[i].parent) && table[i].parent != table[i].id)
      children[table[i].parent].push_back(i);
    else
      order.push_back(i);
  }
  for (size_t i = 0; i < order.size(); i++)
    for (size_t child : children[table[order[i]].id]) order.push_back(child);
  std::reverse(order.begin(), order.end());
  return order;
}

Result<Fd> open_mount(const MountLine& line) {
  constexpr int kMostLayers = 100;
  for (int layer = 0; layer < kMostLayers; layer++) {
    Fd top = TRY(sys::open(line.point.c_str(), O_PATH | O_NOFOLLOW));
    if (TRY(mount_id_of(top)) == line.id) return top;
    TRY(SYSCALL(::umount2(line.point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW), "unmount %s",
                line.point.c_str()));
  }
  return Error::unsupported(strf("%s is covered too often", line.point.c_str()));
}

Result<std::vector<Fd>> take_mounts(const MakePlan& plan) {
  std::vector<Fd> taken;
  Result<> done = Error::system(EAGAIN, "no thread could be started to copy mounts with");
  {
    QuietThread thread([&] { done = take_all(plan, &taken); });
  }
  TRY(std::move(done));
  return taken;
}

}  // namespace ncr::mount_namespace
