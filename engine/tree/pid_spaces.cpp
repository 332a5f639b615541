// A process has a number in its own pid namespace and in each one above (struct pid, upid;
// pid_namespaces(7)). Runs in the engine, the coordinator and in children; pure.
#include "engine/tree/pid_spaces.h"

#include <algorithm>

namespace ncr {
namespace {

// A chain in a damaged image may be a circle; the kernel nests no deeper (MAX_PID_NS_LEVEL,
// linux/pid_namespace.h).
constexpr size_t kDeepest = 32;

uint32_t own_of(const std::vector<schema::Namespace>& records, const schema::Task& task) {
  for (uint32_t id : task.namespaces())
    if (id > 0 && id <= records.size() && records[id - 1].has_pid()) return id;
  return 0;
}

}  // namespace

PidSpaces::PidSpaces(const std::vector<schema::Namespace>& records, const schema::Task& root) {
  const uint32_t of_root = own_of(records, root);
  for (const schema::Namespace& record : records) {
    if (!record.has_pid() || record.id() == of_root) continue;
    Space& space = spaces_[record.id()];
    space.above = record.parent() == of_root ? 0 : record.parent();
    for (const schema::PidPair& pair : record.pid().numbers())
      space.numbers.emplace(pair.of_root(), pair.here());
  }
}

uint32_t PidSpaces::of(const schema::Task& task) const {
  for (uint32_t id : task.namespaces())
    if (spaces_.contains(id)) return id;
  return 0;
}

uint32_t PidSpaces::above(uint32_t space) const {
  auto found = spaces_.find(space);
  return found == spaces_.end() ? 0 : found->second.above;
}

size_t PidSpaces::depth(uint32_t space) const {
  size_t depth = 0;
  for (; space != 0 && depth < kDeepest; space = above(space)) depth++;
  return depth;
}

pid_t PidSpaces::in(uint32_t space, pid_t of_root) const {
  if (space == 0) return of_root;
  auto found = spaces_.find(space);
  if (found == spaces_.end()) return 0;
  auto number = found->second.numbers.find(of_root);
  return number == found->second.numbers.end() ? 0 : number->second;
}

std::vector<pid_t> PidSpaces::numbers(uint32_t space, pid_t of_root) const {
  std::vector<pid_t> numbers;
  for (; space != 0 && numbers.size() < kDeepest; space = above(space))
    numbers.push_back(in(space, of_root));
  numbers.push_back(of_root);
  return numbers;
}

bool PidSpaces::is_taken(pid_t number) const {
  return std::any_of(spaces_.begin(), spaces_.end(), [number](const auto& space) {
    return std::any_of(space.second.numbers.begin(), space.second.numbers.end(),
                       [number](const auto& pair) { return pair.second == number; });
  });
}

}  // namespace ncr
