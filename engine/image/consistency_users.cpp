// User namespaces (docs/adr/0018): maps as the kernel takes them, a chain of parents that ends at
// the root's, owners that are mapped. Nothing of a damaged image may give a process more than it
// had. Pure.
#include <algorithm>

#include "engine/image/consistency.h"
#include "engine/image/image_dir.h"
#include "engine/tree/user_spaces.h"

namespace ncr::consistency {
namespace {

using Ranges = google::protobuf::RepeatedPtrField<schema::IdRange>;

constexpr int kMostLines = 340;  // UID_GID_MAP_MAX_EXTENTS, linux/user_namespace.h
constexpr uint64_t kIds = uint64_t{1} << 32;

bool overlap(uint32_t a, uint32_t b, const schema::IdRange& of_a, const schema::IdRange& of_b) {
  return a < uint64_t{b} + of_b.count() && b < uint64_t{a} + of_a.count();
}

bool is_map(const Ranges& ranges) {
  if (ranges.size() > kMostLines) return false;
  for (int i = 0; i < ranges.size(); i++) {
    const schema::IdRange& range = ranges[i];
    if (range.count() == 0 || uint64_t{range.inside()} + range.count() >= kIds ||
        uint64_t{range.outside()} + range.count() >= kIds)
      return false;
    for (int k = 0; k < i; k++)
      if (overlap(range.inside(), ranges[k].inside(), range, ranges[k]) ||
          overlap(range.outside(), ranges[k].outside(), range, ranges[k]))
        return false;
  }
  return true;
}

bool is_mapped(const Ranges& above, uint32_t first, uint32_t count) {
  return std::any_of(above.begin(), above.end(), [&](const schema::IdRange& range) {
    return first >= range.inside() &&
           uint64_t{first} + count <= uint64_t{range.inside()} + range.count();
  });
}

bool are_mapped(const Ranges& above, const Ranges& ranges) {
  return std::all_of(ranges.begin(), ranges.end(), [&](const schema::IdRange& range) {
    return is_mapped(above, range.outside(), range.count());
  });
}

class Users {
 public:
  explicit Users(const Image& image) : image_(image) {
    for (uint32_t id : image.tasks.front().namespaces())
      if (is_user(id)) of_root_ = id;
  }

  Result<> check() const {
    for (const schema::Namespace& record : image_.namespaces) {
      const std::string who = strf("namespace %u", record.id());
      if (record.owner() != 0 && !is_user(record.owner()))
        return bad(kNamespacesFile, who, "its owner is no user namespace");
      if (record.has_user()) TRY(check_user(record, who));
    }
    return {};
  }

 private:
  bool is_user(uint32_t id) const {
    return id > 0 && id <= image_.namespaces.size() && image_.namespaces[id - 1].has_user();
  }

  Result<> check_user(const schema::Namespace& record, const std::string& who) const {
    const schema::UserNamespace& user = record.user();
    if (!is_map(user.uids()) || !is_map(user.gids()))
      return bad(kNamespacesFile, who, "its maps of ids are not possible");
    if (record.id() == of_root_) {
      if (record.parent() == 0) return {};
      return bad(kNamespacesFile, who, "the user namespace of the root is below another one");
    }
    if (!leads_to_root(record))
      return bad(kNamespacesFile, who, "it is not below the user namespace of the root");
    if (record.parent() == 0) return {};
    const schema::UserNamespace& above = image_.namespaces[record.parent() - 1].user();
    if (!are_mapped(above.uids(), user.uids()) || !are_mapped(above.gids(), user.gids()))
      return bad(kNamespacesFile, who, "it maps ids that the one above does not have");
    if (!is_mapped(above.uids(), user.owner_uid(), 1))
      return bad(kNamespacesFile, who, "its owner %u is nobody in the one above", user.owner_uid());
    return {};
  }

  // In as many steps as there are namespaces at most.
  bool leads_to_root(const schema::Namespace& record) const {
    uint32_t at = record.parent();
    for (size_t steps = 0; steps < image_.namespaces.size() && at != of_root_; steps++) {
      if (!is_user(at)) return false;
      at = image_.namespaces[at - 1].parent();
    }
    return at == of_root_;
  }

  const Image& image_;
  uint32_t of_root_ = 0;
};

}  // namespace

Result<> check_users(const Image& image) { return Users(image).check(); }

}  // namespace ncr::consistency
