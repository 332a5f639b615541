// Makes user namespaces below that of the tree's root, and works in them (docs/adr/0018). Runs in
// processes that become no task: who has entered one cannot come back.
#pragma once

#include <functional>

#include "engine/base/fd.h"
#include "engine/base/result.h"
#include "user_namespace.pb.h"

namespace ncr {

// The writers of maps must be in the namespace above.
Result<> write_maps(const Fd& proc, const schema::UserNamespace& user);

// Whether there is a root inside. Pure.
bool maps_zero(const schema::UserNamespace& user);

// As somebody whom the namespace maps, number 0 if it does. Until then what we create there belongs
// to nobody.
Result<> become_somebody_inside(const schema::UserNamespace& user);

// In a process of its own: enters `outer` (its maps beside it; none: we are there), makes a user
// namespace like `user` there, and lets `keep` do something in it.
struct OuterUser {
  int nsfs = -1;
  const schema::UserNamespace* maps = nullptr;
};
Result<> make_user_namespace(const OuterUser& outer, const schema::UserNamespace& user,
                             const std::function<Result<>()>& keep);

// Enters a namespace and becomes somebody there, in a process of its own.
Result<> enter_user_namespace(int nsfs, const schema::UserNamespace& user);

// Effective as another user and group for a while, with all capabilities.
class [[nodiscard]] ActingAs {
 public:
  static Result<ActingAs> user(uint32_t uid, uint32_t gid);
  // Of a folder, or of the first one above `path` that is there: whoever owns it may make files in
  // a file system of a user namespace below, where users that it does not map may not (EOVERFLOW).
  static Result<ActingAs> owner_above(const std::string& path);
  ActingAs(ActingAs&& other) noexcept;
  ActingAs(const ActingAs&) = delete;
  ~ActingAs();

 private:
  ActingAs(uint32_t uid, uint32_t gid, int securebits)
      : uid_(uid), gid_(gid), securebits_(securebits) {}
  uint32_t uid_;  // before
  uint32_t gid_;
  int securebits_;
  bool active_ = true;
};

}  // namespace ncr
