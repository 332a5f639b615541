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

schema::Namespace root_only(uint32_t id = 1, const char* part = "/") {
  schema::Namespace record;
  record.set_id(id);
  schema::MountedFileSystem* file_system = record.mutable_mnt()->add_file_systems();
  file_system->set_id(1);
  file_system->set_type("ext4");
  schema::Mount* mount = record.mutable_mnt()->add_mounts();
  mount->set_id(1);
  mount->set_point("/");
  mount->set_root(part);
  mount->set_file_system(1);
  return record;
}

// The last of `namespaces` is built in a process of its own, whose given root holds sub/marker.
// Whether `marker` is there then.
bool has_after_build(const std::vector<schema::Namespace>& namespaces, const char* marker) {
  test::Scratch scratch;
  EXPECT_EQ(::mkdir(scratch.file("sub").c_str(), 0700), 0);
  test::append_to(scratch.file("sub/marker"), "here");
  const pid_t child = test::fork_child([&] {
    if (::unshare(CLONE_NEWNS) != 0) ::_exit(2);
    Fd root = sys::open(scratch.path().c_str(), O_PATH | O_DIRECTORY).take();
    Image image;
    image.namespaces = namespaces;
    SharedMemoryObjects content;
    RestoreRequest request;
    request.root = "/where/we/may/not/go";
    NamespaceBuild build{image, request, content, image.namespaces.back(), nullptr};
    build.given_root = root.get();
    build.enter_mounts = [](uint32_t) { return Result<>(); };
    Result<> built = kRoom.build(build);
    if (!built.ok()) std::fprintf(stderr, "%s\n", built.error().text().c_str());
    ::_exit(built.ok() && test::file_exists(marker) ? 0 : 3);
  });
  int status = 0;
  EXPECT_TRUE(test::wait_exit(child, &status, std::chrono::seconds(20)));
  return status == 0;
}

TEST(given_root, one_that_only_the_caller_may_go_to_is_taken_by_its_descriptor) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_TRUE(has_after_build({root_only()}, "/sub/marker"));
}

TEST(given_root, a_part_of_one_that_only_the_caller_may_go_to_is_found_below_it) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_TRUE(has_after_build({root_only(), root_only(2)}, "/sub/marker"));
  EXPECT_TRUE(has_after_build({root_only(), root_only(2, "/sub")}, "/marker"));
}

}  // namespace
}  // namespace ncr::mount_namespace
