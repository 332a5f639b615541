// Under another mount, a mount can only be reached once that is gone. So a copy of the namespace is
// taken down bit by bit (throwaway_copy.h): in the end every mount has been on top for a moment.
#include "engine/resources/mount_namespace/covered_mounts.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <algorithm>
#include <unordered_map>

#include "engine/resources/mount_namespace/mount_calls.h"
#include "engine/resources/mount_namespace/throwaway_copy.h"

namespace ncr::mount_namespace {
namespace {

// Children of each line, and the lines that have no parent in the table.
struct Family {
  explicit Family(const std::vector<MountLine>& lines) {
    std::unordered_map<uint32_t, size_t> by_id;
    for (size_t i = 0; i < lines.size(); i++) by_id.emplace(lines[i].id, i);
    children.resize(lines.size());
    for (size_t i = 0; i < lines.size(); i++) {
      auto parent = by_id.find(lines[i].parent);
      if (parent == by_id.end() || parent->second == i)
        tops.push_back(i);
      else
        children[parent->second].push_back(i);
    }
  }
  std::vector<std::vector<size_t>> children;
  std::vector<size_t> tops;
};

Result<std::map<uint32_t, Fd>> take_down(const std::vector<MountLine>& lines, const Fd& proc,
                                         const std::set<uint32_t>& wanted) {
  const auto [copy, originals] = TRY(read_copied_table(lines, proc));
  std::map<uint32_t, Fd> taken;
  for (size_t index : order_of_removal(copy)) {
    const MountLine& line = copy[index];
    auto known = originals.find(line.id);
    if (known != originals.end() && wanted.contains(known->second)) {
      Fd top = TRY(sys::open(line.point.c_str(), O_PATH | O_NOFOLLOW));
      if (TRY(mount_id_of(top)) == line.id) taken[known->second] = TRY(copy_mount(top));
      if (taken.size() == wanted.size()) break;
    }
    // One that cannot be unmounted hides what is below it, nothing else.
    if (line.point != "/" || line.parent != line.id)
      (void)::umount2(line.point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  }
  return taken;
}

}  // namespace

std::vector<size_t> order_of_removal(const std::vector<MountLine>& lines) {
  Family family(lines);
  // From the top down in the opposite order, then turned round: covers last, deep ones first.
  std::vector<size_t> order;
  std::vector<size_t> todo = family.tops;
  while (!todo.empty()) {
    size_t index = todo.back();
    todo.pop_back();
    order.push_back(index);
    std::vector<size_t>& children = family.children[index];
    std::stable_sort(children.begin(), children.end(), [&](size_t a, size_t b) {
      return lines[a].point.size() < lines[b].point.size();
    });
    // The stack gives back the longest first, which then is removed last.
    todo.insert(todo.end(), children.begin(), children.end());
  }
  std::reverse(order.begin(), order.end());
  return order;
}

Result<CopiedTable> read_copied_table(const std::vector<MountLine>& lines, const Fd& proc) {
  CopiedTable copy;
  const std::string text = TRY(sys::read_file_at(proc, "../thread-self/mountinfo"));
  copy.lines = TRY(parse_mountinfo(text));
  for (const auto& [id, line] : match_tables(lines, copy.lines)) copy.originals[line->id] = id;
  return copy;
}

std::map<uint32_t, const MountLine*> match_tables(const std::vector<MountLine>& lines,
                                                  const std::vector<MountLine>& copy) {
  Family ours(lines);
  Family theirs(copy);
  std::map<uint32_t, const MountLine*> matched;
  std::vector<std::pair<size_t, size_t>> todo;
  auto match = [&](const std::vector<size_t>& a, const std::vector<size_t>& b) {
    std::unordered_map<std::string, size_t> by_point;
    for (size_t index : b) by_point.emplace(copy[index].point, index);
    for (size_t index : a) {
      auto same = by_point.find(lines[index].point);
      if (same == by_point.end() || copy[same->second].device != lines[index].device) continue;
      matched[lines[index].id] = &copy[same->second];
      todo.emplace_back(index, same->second);
    }
  };
  match(ours.tops, theirs.tops);
  while (!todo.empty()) {
    auto [a, b] = todo.back();
    todo.pop_back();
    match(ours.children[a], theirs.children[b]);
  }
  return matched;
}

Result<std::map<uint32_t, Fd>> uncover(const std::vector<MountLine>& lines, const Fd& space,
                                       const Fd& proc, const std::set<uint32_t>& wanted) {
  Result<std::map<uint32_t, Fd>> taken = Error(ErrorCode::kSystem, "nothing was uncovered");
  TRY(in_throwaway_copy(space, proc, [&]() -> Result<> {
    taken = take_down(lines, proc, wanted);
    return {};
  }));
  return taken;
}

}  // namespace ncr::mount_namespace
