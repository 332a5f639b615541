#include "engine/resources/inotify/inotify.h"

#include <sched.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/resources/fdinfo.h"
#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

class InotifyTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(::mkdtemp(dir_), nullptr);
    std::string other = std::string(dir_) + "/other";
    ASSERT_EQ(::mkdir(other.c_str(), 0700), 0);
  }
  void TearDown() override {
    ::rmdir((std::string(dir_) + "/other").c_str());
    ::rmdir(dir_);
  }
  char dir_[32] = "/tmp/nativecr-watch-XXXXXX";
};

std::vector<InotifyWatch> watches_of(int fd) {
  return value_of(
      parse_inotify(value_of(sys::read_file(strf("/proc/self/fdinfo/%d", fd).c_str()))));
}

TEST_F(InotifyTest, keeps_numbers_paths_and_masks) {
  Fd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  int gone = ::inotify_add_watch(fd.get(), "/", IN_CREATE);
  int first = ::inotify_add_watch(fd.get(), dir_, IN_CREATE | IN_EXCL_UNLINK);
  int second =
      ::inotify_add_watch(fd.get(), (std::string(dir_) + "/other").c_str(), IN_DELETE_SELF);
  ASSERT_EQ(::inotify_rm_watch(fd.get(), gone), 0);
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  std::vector<InotifyWatch> before = watches_of(fd.get());
  std::vector<InotifyWatch> after = watches_of(trip.opened(id));
  ASSERT_EQ(after.size(), 2u);
  for (const InotifyWatch& watch : after) {
    EXPECT_TRUE(watch.descriptor == first || watch.descriptor == second) << watch.descriptor;
    for (const InotifyWatch& old : before)
      if (old.descriptor == watch.descriptor) {
        EXPECT_EQ(old.file.inode, watch.file.inode);
        EXPECT_EQ(old.mask, watch.mask);
      }
  }
}

TEST_F(InotifyTest, counts_the_events_that_will_be_lost) {
  Fd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  ASSERT_GT(::inotify_add_watch(fd.get(), dir_, IN_CREATE), 0);
  std::string file = std::string(dir_) + "/new";
  ASSERT_EQ(::mkdir(file.c_str(), 0700), 0);
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  EXPECT_GT(trip.record(id).inotify().unread_bytes(), 0u);
  ::rmdir(file.c_str());
}

TEST_F(InotifyTest, names_a_path_that_is_gone_at_restore) {
  Fd fd(::inotify_init1(IN_CLOEXEC));
  std::string other = std::string(dir_) + "/other";
  ASSERT_GT(::inotify_add_watch(fd.get(), other.c_str(), IN_CREATE), 0);
  Reopening trip;
  (void)trip.dump(fd.get());
  ASSERT_EQ(::rmdir(other.c_str()), 0);
  Result<> restored = trip.restore();
  ASSERT_FALSE(restored.ok());
  EXPECT_NE(restored.error().text().find(other), std::string::npos) << restored.error().text();
}

TEST_F(InotifyTest, watches_only_in_the_last_stage) {
  schema::OpenFile record;
  schema::InotifyWatch* watch = record.mutable_inotify()->add_watches();
  watch->set_descriptor(9);
  watch->set_path("/a/b");
  watch->set_mask(IN_CREATE);
  StepList steps;
  ASSERT_TRUE(fd_room_of(schema::OpenFile::kInotify)->late(record, FdNumber{4}, steps).ok());
  std::string late = steps.encode(wire::Stage::kLate, wire::Stage::kLate);
  inotify::AddWatch step;
  ASSERT_GE(late.size(), sizeof(wire::StepHeader) + sizeof step);
  std::memcpy(&step, late.data() + sizeof(wire::StepHeader), sizeof step);
  EXPECT_EQ(step.descriptor, 9);
  EXPECT_STREQ(late.c_str() + sizeof(wire::StepHeader) + sizeof step, "/a/b");
}

CR_TEST(inotify, a_file_without_a_name_is_still_watched) {
  test::Scratch scratch;
  const std::string path = scratch.file("watched");
  Fd file = MUST(sys::open(path.c_str(), O_RDWR | O_CREAT, 0600));
  Fd watch(MUST(SYSCALL(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC), "inotify_init1")));
  const int number = ::inotify_add_watch(watch.get(), path.c_str(), IN_MODIFY);
  ASSERT_EQ(::unlink(path.c_str()), 0);
  checkpoint_restore();
  MUST(sys::write_all(file, "text", 4));
  inotify_event event{};
  ASSERT_EQ(::read(watch.get(), &event, sizeof event), static_cast<ssize_t>(sizeof event));
  EXPECT_EQ(event.wd, number);
  EXPECT_EQ(event.mask, static_cast<uint32_t>(IN_MODIFY));
}

CR_TEST(inotify, reports_what_happens_after_the_restore_and_nothing_of_the_restore) {
  test::Scratch scratch;
  Fd fd(MUST(SYSCALL(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK), "inotify_init1")));
  int descriptor = ::inotify_add_watch(fd.get(), scratch.path().c_str(), IN_ALL_EVENTS);
  checkpoint_restore();
  int waiting = 0;
  ASSERT_EQ(::ioctl(fd.get(), FIONREAD, &waiting), 0);
  EXPECT_EQ(waiting, 0);
  ASSERT_EQ(::mkdir(scratch.file("new").c_str(), 0700), 0);
  alignas(inotify_event) char buffer[512];
  ASSERT_GT(::read(fd.get(), buffer, sizeof buffer), 0);
  const auto* event = reinterpret_cast<const inotify_event*>(buffer);
  EXPECT_EQ(event->wd, descriptor);
  EXPECT_STREQ(event->name, "new");
  ::rmdir(scratch.file("new").c_str());
}

// What is watched is mounted in another mount namespace only, where a path leads to another folder
// here.
CR_TEST(inotify, a_folder_that_only_another_process_of_the_tree_sees_is_still_watched) {
  test::Scratch scratch;
  int ready[2];
  int go[2];
  ASSERT_TRUE(::pipe(ready) == 0 && ::pipe(go) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    const bool made = ::unshare(CLONE_NEWNS) == 0 &&
                      ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) == 0 &&
                      ::mount("tmpfs", scratch.path().c_str(), "tmpfs", 0, nullptr) == 0 &&
                      ::chdir(scratch.path().c_str()) == 0;
    (void)!::write(ready[1], made ? "y" : "n", 1);
    ::_exit(made && ::read(go[0], &byte, 1) == 1 && ::mkdir("new", 0700) == 0 ? 0 : 1);
  }
  char byte = 0;
  ASSERT_TRUE(::read(ready[0], &byte, 1) == 1 && byte == 'y');
  Fd fd(MUST(SYSCALL(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK), "inotify_init1")));
  const int descriptor =
      ::inotify_add_watch(fd.get(), strf("/proc/%d/cwd", child).c_str(), IN_CREATE);
  ASSERT_GT(descriptor, 0);
  checkpoint_restore();
  ASSERT_EQ(::write(go[1], "g", 1), 1);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  alignas(inotify_event) char buffer[512];
  ASSERT_GT(::read(fd.get(), buffer, sizeof buffer), 0);
  const auto* event = reinterpret_cast<const inotify_event*>(buffer);
  EXPECT_EQ(event->wd, descriptor);
  EXPECT_STREQ(event->name, "new");
}

}  // namespace
}  // namespace ncr
