#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>

#include "engine/resources/room.h"
#include "engine/resources/shared_memory/shared_memory.h"
#include "tests/support/child_process.h"
#include "tests/support/scratch.h"

namespace ncr::mount_namespace {

extern const NamespaceRoom kRoom;

namespace {

schema::Namespace root_only() {
  schema::Namespace record;
  schema::MountedFileSystem* file_system = record.mutable_mnt()->add_file_systems();
  file_system->set_id(1);
  file_system->set_type("ext4");
  schema::Mount* mount = record.mutable_mnt()->add_mounts();
  mount->set_id(1);
  mount->set_point("/");
  mount->set_root("/");
  mount->set_file_system(1);
  return record;
}

TEST(given_root, one_that_only_the_caller_may_go_to_is_taken_by_its_descriptor) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  test::Scratch scratch;
  test::append_to(scratch.file("marker"), "here");
  const schema::Namespace record = root_only();
  const pid_t child = test::fork_child([&] {
    if (::unshare(CLONE_NEWNS) != 0) ::_exit(2);
    Fd root = sys::open(scratch.path().c_str(), O_PATH | O_DIRECTORY).take();
    Image image;
    SharedMemoryObjects content;
    RestoreRequest request;
    request.root = "/where/we/may/not/go";
    NamespaceBuild build{image, request, content, record, nullptr};
    build.given_root = root.get();
    Result<> built = kRoom.build(build);
    if (!built.ok()) std::fprintf(stderr, "%s\n", built.error().text().c_str());
    ::_exit(built.ok() && test::file_exists("/marker") ? 0 : 3);
  });
  int status = 0;
  EXPECT_TRUE(test::wait_exit(child, &status, std::chrono::seconds(20)));
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace ncr::mount_namespace
