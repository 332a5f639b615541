// The map of a user namespace leads to the one above it (user_namespaces(7)); each of its lines
// lies within one line there, which the kernel sees to when a map is written (map_write,
// kernel/user_namespace.c). Runs in the engine, the coordinator and in children; pure.
#include "engine/tree/user_spaces.h"

#include <algorithm>

namespace ncr {
namespace {

using Ranges = google::protobuf::RepeatedPtrField<schema::IdRange>;

// A chain in a damaged image may be a circle; the kernel nests no deeper (create_user_ns,
// kernel/user_namespace.c).
constexpr size_t kDeepest = 33;

const schema::Namespace* user_record(const std::vector<schema::Namespace>& records, uint32_t id) {
  return id > 0 && id <= records.size() && records[id - 1].has_user() ? &records[id - 1] : nullptr;
}

uint32_t own_of(const std::vector<schema::Namespace>& records, const schema::Task& task) {
  for (uint32_t id : task.namespaces())
    if (user_record(records, id) != nullptr) return id;
  return 0;
}

std::optional<uint32_t> inwards(const Ranges& ranges, uint32_t outside) {
  for (const schema::IdRange& range : ranges)
    if (outside >= range.outside() && outside - range.outside() < range.count())
      return range.inside() + (outside - range.outside());
  return std::nullopt;
}

std::optional<uint32_t> outwards(const Ranges& ranges, uint32_t inside) {
  for (const schema::IdRange& range : ranges)
    if (inside >= range.inside() && inside - range.inside() < range.count())
      return range.outside() + (inside - range.inside());
  return std::nullopt;
}

void lead_further_out(const Ranges& above, Ranges* ranges) {
  Ranges further;
  for (const schema::IdRange& range : *ranges)
    if (std::optional<uint32_t> outside = outwards(above, range.outside())) {
      schema::IdRange* longer = further.Add();
      *longer = range;
      longer->set_outside(*outside);
    }
  ranges->Swap(&further);
}

}  // namespace

UserSpaces::UserSpaces(const std::vector<schema::Namespace>& records, const schema::Task& root) {
  const uint32_t of_root = own_of(records, root);
  for (const schema::Namespace& record : records) {
    if (!record.has_user() || record.id() == of_root) continue;
    spaces_[record.id()] = {record.parent() == of_root ? 0 : record.parent(), &record.user()};
  }
  for (const auto& [id, space] : spaces_) order_.push_back(id);
  std::stable_sort(order_.begin(), order_.end(),
                   [this](uint32_t a, uint32_t b) { return depth(a) < depth(b); });
}

uint32_t UserSpaces::of(const schema::Task& task) const {
  for (uint32_t id : task.namespaces())
    if (spaces_.contains(id)) return id;
  return 0;
}

uint32_t UserSpaces::owner(const schema::Namespace& record) const {
  return spaces_.contains(record.owner()) ? record.owner() : 0;
}

uint32_t UserSpaces::above(uint32_t space) const {
  auto found = spaces_.find(space);
  return found == spaces_.end() ? 0 : found->second.above;
}

size_t UserSpaces::depth(uint32_t space) const {
  size_t depth = 0;
  for (; space != 0 && depth < kDeepest; space = above(space)) depth++;
  return depth;
}

bool UserSpaces::is_within(uint32_t space, uint32_t outer) const {
  for (size_t level = depth(space); level > 0 && space != outer; level--) space = above(space);
  return space == outer;
}

std::optional<uint32_t> UserSpaces::uid(uint32_t space, uint32_t of_root) const {
  auto found = spaces_.find(space);
  if (found == spaces_.end()) return of_root;
  const std::optional<uint32_t> outside = uid(found->second.above, of_root);
  return outside ? inwards(found->second.maps->uids(), *outside) : std::nullopt;
}

std::optional<uint32_t> UserSpaces::gid(uint32_t space, uint32_t of_root) const {
  auto found = spaces_.find(space);
  if (found == spaces_.end()) return of_root;
  const std::optional<uint32_t> outside = gid(found->second.above, of_root);
  return outside ? inwards(found->second.maps->gids(), *outside) : std::nullopt;
}

std::optional<uint32_t> UserSpaces::uid_of_root(uint32_t space, uint32_t here) const {
  auto found = spaces_.find(space);
  if (found == spaces_.end()) return here;
  const std::optional<uint32_t> outside = outwards(found->second.maps->uids(), here);
  return outside ? uid_of_root(found->second.above, *outside) : std::nullopt;
}

std::optional<uint32_t> UserSpaces::gid_of_root(uint32_t space, uint32_t here) const {
  auto found = spaces_.find(space);
  if (found == spaces_.end()) return here;
  const std::optional<uint32_t> outside = outwards(found->second.maps->gids(), here);
  return outside ? gid_of_root(found->second.above, *outside) : std::nullopt;
}

schema::UserNamespace maps_from_outside(const std::vector<schema::Namespace>& records,
                                        uint32_t id) {
  schema::UserNamespace maps;
  const schema::Namespace* at = user_record(records, id);
  if (at == nullptr) return maps;
  maps = at->user();
  for (size_t level = 0; level < kDeepest; level++) {
    at = user_record(records, at->parent());
    if (at == nullptr) break;
    lead_further_out(at->user().uids(), maps.mutable_uids());
    lead_further_out(at->user().gids(), maps.mutable_gids());
  }
  return maps;
}

}  // namespace ncr
