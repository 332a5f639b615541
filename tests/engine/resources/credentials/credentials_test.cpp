#include "engine/resources/credentials/credentials.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "engine/resources/credentials/credentials.restorer.cpp"
#include "tests/engine/resources/in_child.h"

namespace ncr::credentials {
namespace {

using ListOfTwo = testing::WithTail<Set, uint32_t[2]>;

uint64_t own_permitted() {
  Capabilities own{};
  (void)get_capabilities(&own);
  return own.permitted;
}

TEST(credentials, change_to_another_user_with_one_ambient_capability) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_EQ(testing::in_child([] {
              constexpr uint64_t kBind = 1ull << CAP_NET_BIND_SERVICE;
              ListOfTwo list{{{1000, 1001, 1002, 1001},
                              {2000, 2001, 2002, 2001},
                              kBind,
                              kBind,
                              kBind,
                              kBind,
                              kBind,
                              0,
                              1,
                              2,
                              0},
                             {5, 7}};
              if (!run(list.step).ok()) return 1;
              uid_t uids[3];
              gid_t gids[3];
              gid_t groups[4];
              if (getresuid(&uids[0], &uids[1], &uids[2]) != 0 ||
                  getresgid(&gids[0], &gids[1], &gids[2]) != 0)
                return 2;
              if (uids[0] != 1000 || uids[1] != 1001 || uids[2] != 1002 || gids[0] != 2000 ||
                  gids[2] != 2002)
                return 3;
              if (getgroups(4, groups) != 2 || groups[0] != 5 || groups[1] != 7) return 4;
              if (own_permitted() != kBind) return 5;
              if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0) != 1)
                return 6;
              if (::prctl(PR_CAPBSET_READ, CAP_KILL) != 0 || ::prctl(PR_GET_SECUREBITS) != 0)
                return 7;
              return ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 8;
            }),
            0);
}

TEST(credentials, root_without_capabilities_stays_root) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_EQ(
      testing::in_child([] {
        ListOfTwo list{{{0, 0, 0, 0}, {0, 0, 0, 0}, 0, 0, 0, 0, 0, 0x3f & ~0x10u, 0, 0, 0}, {}};
        if (!run(list.step).ok()) return 1;
        if (geteuid() != 0 || own_permitted() != 0) return 2;
        return ::prctl(PR_GET_SECUREBITS) == (0x3f & ~0x10) ? 0 : 3;
      }),
      0);
}

}  // namespace
}  // namespace ncr::credentials
