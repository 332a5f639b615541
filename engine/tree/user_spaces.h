// The user namespaces of a tree, below that of its root (docs/adr/0018). Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "namespace.pb.h"
#include "task.pb.h"

namespace ncr {

// A space is a user namespace by its id in the image, or 0: that of the root of the tree, whether
// it has a record or not. Users and groups are named by their numbers there.
class UserSpaces {
 public:
  UserSpaces() = default;  // there is one only
  UserSpaces(const std::vector<schema::Namespace>& records, const schema::Task& root);

  bool several() const { return !spaces_.empty(); }
  uint32_t of(const schema::Task& task) const;
  // That a namespace belongs to.
  uint32_t owner(const schema::Namespace& record) const;
  // Space 0 is above itself.
  uint32_t above(uint32_t space) const;
  size_t depth(uint32_t space) const;  // 0: space 0
  bool is_within(uint32_t space, uint32_t outer) const;
  const std::vector<uint32_t>& in_order() const { return order_; }  // parents first, without 0
  // As a space numbers them; nothing: not mapped there.
  std::optional<uint32_t> uid(uint32_t space, uint32_t of_root) const;
  std::optional<uint32_t> gid(uint32_t space, uint32_t of_root) const;
  // And back.
  std::optional<uint32_t> uid_of_root(uint32_t space, uint32_t here) const;
  std::optional<uint32_t> gid_of_root(uint32_t space, uint32_t here) const;

 private:
  struct Space {
    uint32_t above = 0;
    const schema::UserNamespace* maps = nullptr;
  };
  std::map<uint32_t, Space> spaces_;
  std::vector<uint32_t> order_;
};

// The maps of namespace `id` from the ids of whoever dumped the tree; `records`: of an image.
schema::UserNamespace maps_from_outside(const std::vector<schema::Namespace>& records, uint32_t id);

}  // namespace ncr
