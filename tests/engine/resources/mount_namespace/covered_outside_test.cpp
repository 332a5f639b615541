// Parts of mounts of the caller's that something covers there. Needs CAP_SYS_ADMIN.
#include "engine/resources/mount_namespace/mount_calls.h"
#include "engine/resources/mount_namespace/taken_mounts.h"
#include "tests/engine/resources/mount_namespace/mount_dweller.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/scratch.h"

namespace ncr::mount_namespace {
namespace {

// A tmpfs at `dir` that is shared, whose part/ is covered; bound/ is free.
bool cover_part(const std::string& dir) {
  return unshare_mounts() && mount_at(dir, "tmpfs") && make_directory(dir + "/bound") &&
         make_directory(dir + "/part") && make_file(dir + "/part/marker") &&
         ::mount("", dir.c_str(), "", MS_SHARED, nullptr) == 0 && mount_at(dir + "/part", "tmpfs");
}

TEST(mount_namespace, a_part_that_is_covered_outside_still_takes_mounts_from_there) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  ASSERT_TRUE(cover_part(dir));
  Rebuilt rebuilt([&] {
    return ::unshare(CLONE_NEWNS) == 0 && ::mount("", "/", "", MS_REC | MS_SLAVE, nullptr) == 0 &&
           ::umount2((dir + "/part").c_str(), 0) == 0 && bind_at(dir + "/part", dir + "/bound");
  });
  EXPECT_TRUE(test::file_exists(rebuilt.after.path(dir + "/bound/marker")));
  EXPECT_EQ(::umount2(dir.c_str(), MNT_DETACH), 0);
}

TEST(taken_mounts, a_part_that_something_covers_is_taken_and_keeps_its_master) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  ASSERT_TRUE(cover_part(dir));
  const schema::Mount mount;
  auto plan = [&](const std::vector<MountLine>& own) -> Result<MountPlan> {
    MountPlan wanted;
    Placement placement;
    placement.mount = &mount;
    placement.source.kind = MountSource::Kind::kHost;
    placement.source.below = "part";
    placement.keeps_master = true;
    for (size_t i = 0; i < own.size(); i++)
      if (own[i].point == dir) placement.source.index = i;
    wanted.placements = {placement};
    return wanted;
  };
  const std::vector<Fd> taken = MUST(take_mounts(plan));
  ASSERT_TRUE(taken.size() == 1 && taken[0].valid());
  EXPECT_EQ(::faccessat(taken[0].get(), "marker", F_OK, 0), 0);
  const Fd bound = MUST(sys::open((dir + "/bound").c_str(), O_PATH));
  MUST(put_in_place(taken[0], bound));
  const std::vector<MountLine> lines = MUST(parse_mountinfo(own_table()));
  const auto found = std::find_if(lines.begin(), lines.end(), [&](const MountLine& line) {
    return line.point == dir + "/bound";
  });
  ASSERT_NE(found, lines.end());
  EXPECT_NE(found->master, 0u);
  EXPECT_EQ(::umount2(dir.c_str(), MNT_DETACH), 0);
}

}  // namespace
}  // namespace ncr::mount_namespace
