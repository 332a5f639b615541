#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/sys.h"
#include "engine/tree/inner_ids.h"
#include "tests/engine/resources/beside.h"

namespace ncr::test {
namespace {

constexpr char kOwn[] = "/proc/self/loginuid";

TEST(login_id, one_that_the_user_namespace_does_not_know_is_left_out) {
  schema::UserNamespace space;
  schema::IdRange* range = space.add_uids();
  range->set_inside(0);
  range->set_outside(100000);
  range->set_count(1000);
  schema::Task task;
  task.set_login_id(100007);
  InnerIds(space).translate(&task);
  EXPECT_EQ(task.login_id(), 7u);
  task.set_login_id(1000);
  InnerIds(space).translate(&task);
  EXPECT_FALSE(task.has_login_id());
}

// False: the kernel has no audit, or whoever runs the test logged in and may not change it.
bool set_own(const std::string& id) {
  Result<Fd> file = sys::open(kOwn, O_WRONLY);
  return file.ok() && sys::write_all(file.value(), id.data(), id.size()).ok();
}

CR_TEST(login_id, each_process_keeps_its_own) {
  if (!set_own("7")) return;
  std::string child;
  checkpoint_beside(
      [&child] {
        // In a user namespace nobody may change one that is set.
        (void)set_own("8");
        child = MUST(sys::read_file(kOwn));
      },
      [&child] { EXPECT_EQ(MUST(sys::read_file(kOwn)), child); });
  EXPECT_EQ(MUST(sys::read_file(kOwn)), "7");
}

}  // namespace
}  // namespace ncr::test
