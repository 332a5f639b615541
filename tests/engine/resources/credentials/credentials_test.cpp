#include "engine/resources/credentials/credentials.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <thread>

#include "engine/resources/credentials/credentials.restorer.cpp"
#include "engine/resources/room.h"
#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/in_child.h"

namespace ncr::credentials {

extern const TaskRoom kRoom;

namespace {

TEST(credentials, a_capability_that_this_process_has_not_is_refused) {
  EXPECT_EQ(testing::in_child([] {
              schema::Task record;
              record.add_threads()->mutable_credentials()->set_cap_permitted(1ull << 63);
              const RestoreRequest request;
              Result<> answer = kRoom.restore({record, request});
              return !answer.ok() && answer.error().code() == ErrorCode::kUnsupported ? 0 : 1;
            }),
            0);
}

TEST(credentials, no_new_privs_cannot_be_taken_off) {
  EXPECT_EQ(testing::in_child([] {
              if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 1;
              schema::Task record;
              record.add_threads()->mutable_credentials();
              const RestoreRequest request;
              Result<> answer = kRoom.restore({record, request});
              return !answer.ok() && answer.error().text().find("no_new_privs") != std::string::npos
                         ? 0
                         : 2;
            }),
            0);
}

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

namespace ncr::test {
namespace {

CR_TEST(credentials, an_ordinary_user_stays_one) {
  checkpoint_beside(
      [] {
        const gid_t groups[] = {4, 24};
        ASSERT_EQ(setgroups(2, groups), 0);
        ASSERT_EQ(setresgid(1100, 1101, 1102), 0);
        ASSERT_EQ(setresuid(1000, 1000, 1000), 0);
        ASSERT_EQ(::prctl(PR_SET_PDEATHSIG, SIGUSR2), 0);
      },
      [] {
        uid_t uids[3];
        gid_t gids[3];
        gid_t groups[3];
        ASSERT_EQ(getresuid(&uids[0], &uids[1], &uids[2]), 0);
        ASSERT_EQ(getresgid(&gids[0], &gids[1], &gids[2]), 0);
        EXPECT_TRUE(uids[0] == 1000 && uids[1] == 1000 && uids[2] == 1000);
        EXPECT_TRUE(gids[0] == 1100 && gids[1] == 1101 && gids[2] == 1102);
        EXPECT_EQ(getgroups(3, groups), 2);
        EXPECT_TRUE(groups[0] == 4 && groups[1] == 24);
        EXPECT_EQ(::prctl(PR_GET_DUMPABLE), 0);
        int death_signal = 0;
        EXPECT_EQ(::prctl(PR_GET_PDEATHSIG, &death_signal), 0);
        EXPECT_EQ(death_signal, SIGUSR2);
        EXPECT_EQ(setuid(0), -1);
      });
}

uint64_t capability_set(const char* name) {
  FILE* file = fopen("/proc/thread-self/status", "r");
  char line[256];
  unsigned long long set = 0;
  while (file != nullptr && fgets(line, sizeof line, file) != nullptr)
    if (strncmp(line, name, strlen(name)) == 0) sscanf(line + strlen(name), ":%llx", &set);
  if (file != nullptr) fclose(file);
  return set;
}

CR_TEST(credentials, capabilities_securebits_and_no_new_privs) {
  static uint64_t permitted = 0;
  checkpoint_beside(
      [] {
        ASSERT_EQ(::prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT), 0);
        ASSERT_EQ(::prctl(PR_SET_SECUREBITS, SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_KEEP_CAPS), 0);
        ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        permitted = capability_set("CapPrm") & ~(1ull << CAP_SYS_TIME);
        credentials::Capabilities some{permitted & 0xff, permitted, 1ull << CAP_KILL};
        ASSERT_TRUE(credentials::set_capabilities(some).ok());
      },
      [] {
        EXPECT_EQ(capability_set("CapPrm"), permitted);
        EXPECT_EQ(capability_set("CapEff"), permitted & 0xff);
        EXPECT_EQ(capability_set("CapInh"), 1ull << CAP_KILL);
        EXPECT_EQ(capability_set("CapBnd") >> CAP_SYS_BOOT & 1, 0u);
        EXPECT_EQ(::prctl(PR_GET_SECUREBITS), SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_KEEP_CAPS);
        EXPECT_EQ(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
      });
}

std::atomic<int> changed;
std::atomic<int> go;

CR_TEST(credentials, a_thread_may_be_somebody_else) {
  static uid_t seen = 0;
  std::thread thread([] {
    syscall(SYS_setresuid, 1234, 1234, 1234);
    changed = 1;
    await(go);
    seen = static_cast<uid_t>(syscall(SYS_getuid));
  });
  await(changed);
  checkpoint_restore();
  go = 1;
  thread.join();
  EXPECT_EQ(seen, 1234u);
  EXPECT_EQ(getuid(), 0u);
}

}  // namespace
}  // namespace ncr::test
