#include "engine/resources/cgroup/cgroup.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#include "tests/engine/resources/cgroup/test_cgroups.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr {
namespace {

using testing::TestCgroups;

Image image_with(const char* root, const char* path, const char* property) {
  Image image;
  schema::CgroupHierarchy& hierarchy = image.cgroups.emplace_back();
  hierarchy.set_root_path(root);
  schema::Cgroup* cgroup = hierarchy.add_cgroups();
  cgroup->set_id(1);
  cgroup->set_path(path);
  if (*property != 0) cgroup->add_properties()->set_name(property);
  schema::Task& task = image.tasks.emplace_back();
  task.set_pid(7);
  task.add_cgroups(1);
  return image;
}

TEST(CgroupRecords, impossible_ones_are_refused) {
  EXPECT_TRUE(cgroup::check_image(image_with("/a", "", "pids.max")).ok());
  EXPECT_TRUE(cgroup::check_image(image_with("/a", "/b", "")).ok());
  EXPECT_FALSE(cgroup::check_image(image_with("a", "", "")).ok());
  EXPECT_FALSE(cgroup::check_image(image_with("/a/../b", "", "")).ok());
  EXPECT_FALSE(cgroup::check_image(image_with("/a", "b", "")).ok());
  EXPECT_FALSE(cgroup::check_image(image_with("/a", "/..", "")).ok());
  EXPECT_FALSE(cgroup::check_image(image_with("/a", "", "cgroup.procs")).ok());
  Image image = image_with("/a", "", "");
  image.tasks[0].add_cgroups(2);
  EXPECT_FALSE(cgroup::check_image(image).ok());
  image = image_with("/a", "", "");
  *image.cgroups[0].add_cgroups() = image.cgroups[0].cgroups(0);
  EXPECT_FALSE(cgroup::check_image(image).ok());
}

CR_TEST(cgroup, a_tree_stays_in_its_cgroups_of_v1_and_v2) {
  TestCgroups pids("pids");
  TestCgroups unified("");
  if (!pids.usable() || !unified.usable()) GTEST_SKIP() << "no cgroups can be made";
  ASSERT_TRUE(unified.make("/child"));
  ASSERT_TRUE(pids.put("cgroup.procs", "0"));
  ASSERT_TRUE(unified.put("cgroup.procs", "0"));
  ASSERT_TRUE(pids.put("pids.max", "100"));
  pid_t child = test::fork_child([] { ::pause(); });
  ASSERT_TRUE(unified.put("child/cgroup.procs", std::to_string(child)));
  checkpoint_restore();
  EXPECT_TRUE(pids.holds(::getpid()));
  EXPECT_TRUE(pids.holds(child));
  EXPECT_TRUE(unified.holds(::getpid()));
  EXPECT_FALSE(unified.holds(child));
  EXPECT_TRUE(unified.holds(child, "/child"));
  EXPECT_EQ(pids.text("pids.max"), "100");
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

CR_TEST(cgroup, a_thread_stays_in_a_cgroup_of_its_own) {
  TestCgroups pids("pids");
  TestCgroups unified("");
  if (!pids.usable() || !unified.usable()) GTEST_SKIP() << "no cgroups can be made";
  ASSERT_TRUE(pids.make("/thread"));
  ASSERT_TRUE(unified.make("/thread"));
  ASSERT_TRUE(unified.put("thread/cgroup.type", "threaded"));
  ASSERT_TRUE(pids.put("cgroup.procs", "0"));
  ASSERT_TRUE(unified.put("cgroup.procs", "0"));
  static pthread_barrier_t barrier;
  static pid_t tid;
  ::pthread_barrier_init(&barrier, nullptr, 2);
  pthread_t thread;
  auto body = [](void*) -> void* {
    tid = ::gettid();
    ::pthread_barrier_wait(&barrier);
    ::pthread_barrier_wait(&barrier);
    return nullptr;
  };
  ASSERT_EQ(::pthread_create(&thread, nullptr, body, nullptr), 0);
  ::pthread_barrier_wait(&barrier);
  ASSERT_TRUE(pids.put("thread/tasks", std::to_string(tid)));
  ASSERT_TRUE(unified.put("thread/cgroup.threads", std::to_string(tid)));
  checkpoint_restore();
  EXPECT_EQ(pids.text("thread/tasks"), std::to_string(tid));
  EXPECT_EQ(unified.text("thread/cgroup.threads"), std::to_string(tid));
  EXPECT_EQ(pids.text("tasks"), std::to_string(::getpid()));
  ::pthread_barrier_wait(&barrier);
  ::pthread_join(thread, nullptr);
}

}  // namespace
}  // namespace ncr
