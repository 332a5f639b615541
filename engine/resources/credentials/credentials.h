// What the halves of credentials share.
#pragma once

#include "pie/steps.h"

namespace ncr::credentials {

constexpr uint32_t kMaxGroups = 65536;  // NGROUPS_MAX

struct Get {
  static constexpr uint32_t kId = wire::id("credentials.Get");
  struct Request {
    uint64_t unused;
  };
  struct Reply {
    uint32_t securebits;
    uint32_t pad;
  };
};

// Followed by group_count numbers of 4 bytes.
struct Set {
  static constexpr uint32_t kId = wire::id("credentials.Set");
  uint32_t uids[4];  // real, effective, saved, fs
  uint32_t gids[4];
  uint64_t inheritable;
  uint64_t permitted;
  uint64_t effective;
  uint64_t bounding;
  uint64_t ambient;
  uint32_t securebits;
  uint32_t no_new_privs;
  uint32_t group_count;
  uint32_t pad;
};

// Into a user namespace below, as the user and with the groups that the task has, in the numbers of
// the one above; then the descriptor is closed. Gives all capabilities there. Followed by
// group_count numbers of 4 bytes.
struct EnterUserNamespace {
  static constexpr uint32_t kId = wire::id("credentials.EnterUserNamespace");
  uint32_t uids[4];
  uint32_t gids[4];
  uint32_t group_count;
  int32_t fd;
};

}  // namespace ncr::credentials
