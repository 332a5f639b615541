#include "engine/resources/file_owner.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/support/checkpoint_test.h"

namespace ncr {
namespace {

std::pair<uid_t, uid_t> who_set_the_owner(int fd) {
  constexpr int kGetOwnerUids = 17;  // F_GETOWNER_UIDS
  uid_t ids[2] = {};
  EXPECT_EQ(::fcntl(fd, kGetOwnerUids, ids), 0);
  return {ids[0], ids[1]};
}

CR_TEST(file_owner, signals_are_sent_by_the_right_of_who_asked_for_them) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  ASSERT_EQ(::seteuid(1234), 0);
  ASSERT_EQ(::fcntl(ends[0], F_SETOWN, ::getpid()), 0);
  ASSERT_EQ(::seteuid(0), 0);
  ASSERT_EQ(::prctl(PR_SET_DUMPABLE, 1), 0);
  ASSERT_EQ(who_set_the_owner(ends[0]), std::make_pair(0u, 1234u));
  checkpoint_restore();
  EXPECT_EQ(who_set_the_owner(ends[0]), std::make_pair(0u, 1234u));
  EXPECT_EQ(::fcntl(ends[0], F_GETOWN), ::getpid());
  EXPECT_EQ(::geteuid(), 0u);
  EXPECT_EQ(::prctl(PR_GET_DUMPABLE), 1);
}

}  // namespace
}  // namespace ncr
