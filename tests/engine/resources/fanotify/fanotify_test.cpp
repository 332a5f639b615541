#include "engine/resources/fanotify/fanotify.h"

#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/resources/fdinfo.h"
#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

// What fdinfo tells of the group, but for the numbers of mounts, which are new.
std::string told_of(const Fd& group) {
  std::string told;
  const std::string text = MUST(sys::read_file(strf("/proc/self/fdinfo/%d", group.get()).c_str()));
  for (size_t at = text.find("fanotify "); at != std::string::npos;) {
    const size_t end = text.find('\n', at);
    std::string line = text.substr(at, end - at);
    const size_t mount = line.find("mnt_id:");
    if (mount != std::string::npos) line.erase(mount, line.find(' ', mount) - mount);
    // A procfs of the tree's own is a new one, with another number.
    if (line.starts_with("fanotify sdev:")) line.erase(9, line.find(' ', 9) - 9);
    told += line + "\n";
    at = text.find("fanotify ", end);
  }
  return told;
}

int waiting(const Fd& group) {
  int bytes = 0;
  MUST(SYSCALL(::ioctl(group.get(), FIONREAD, &bytes), "FIONREAD"));
  return bytes;
}

TEST(Fanotify, marks_stand_in_fdinfo) {
  const FanotifyInfo info = value_of(parse_fanotify(
      "pos:\t0\nfanotify flags:13 event-flags:8000\n"
      "fanotify ino:4f969 sdev:800013 mflags:0 mask:3b ignored_mask:0 fhandle-bytes:8 "
      "fhandle-type:1 f_handle:69f90400c275b5b4\n"
      "fanotify mnt_id:12 mflags:40 mask:38 ignored_mask:3\n"
      "fanotify sdev:800013 mflags:0 mask:20 ignored_mask:0\n"
      "fanotify mnt_ns:4026531841 mflags:0 mask:1000000 ignored_mask:0\n"));
  EXPECT_EQ(info.init_flags, 0x13u);
  EXPECT_EQ(info.event_flags, 0x8000u);
  ASSERT_EQ(info.marks.size(), 4u);
  EXPECT_EQ(info.marks[0].kind, FanotifyMark::Kind::kInode);
  EXPECT_EQ(info.marks[0].file.handle.size(), 8u);
  EXPECT_EQ(info.marks[1].kind, FanotifyMark::Kind::kMount);
  EXPECT_EQ(info.marks[1].mount_id, 0x12);
  EXPECT_EQ(info.marks[1].flags, 0x40u);
  EXPECT_EQ(info.marks[1].ignored_mask, 3u);
  EXPECT_EQ(info.marks[2].kind, FanotifyMark::Kind::kFileSystem);
  EXPECT_EQ(info.marks[3].kind, FanotifyMark::Kind::kOther);
  EXPECT_FALSE(parse_fanotify("pos:\t0\n").ok());
}

CR_TEST(fanotify, marks_of_all_kinds_come_back_where_they_were) {
  test::Scratch scratch;
  const std::string path = scratch.file("watched");
  MUST(sys::open(path.c_str(), O_RDWR | O_CREAT, 0600));
  Fd group(MUST(SYSCALL(
      ::fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE, O_RDONLY | O_LARGEFILE),
      "fanotify_init")));
  const auto mark = [&](unsigned flags, uint64_t mask, const char* on) {
    MUST(SYSCALL(::fanotify_mark(group.get(), FAN_MARK_ADD | flags, mask, AT_FDCWD, on),
                 "fanotify_mark"));
  };
  mark(0, FAN_MODIFY | FAN_CLOSE_WRITE, path.c_str());
  mark(FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_ACCESS, path.c_str());
  // The kernel clears what does not survive whenever anybody writes to a file there.
  constexpr unsigned kLasting = FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY;
  mark(FAN_MARK_MOUNT | kLasting, FAN_OPEN, "/proc");
  mark(FAN_MARK_FILESYSTEM | kLasting, FAN_OPEN, "/proc");
  const std::string before = told_of(group);
  checkpoint_restore();
  EXPECT_EQ(told_of(group), before);
  EXPECT_EQ(waiting(group), 0) << "of the restore nothing is told";
  Fd file = MUST(sys::open(path.c_str(), O_WRONLY));
  MUST(sys::write_all(file, "text", 4));
  fanotify_event_metadata event{};
  ASSERT_EQ(::read(group.get(), &event, sizeof event), static_cast<ssize_t>(sizeof event));
  EXPECT_EQ(event.mask, static_cast<uint64_t>(FAN_MODIFY));
  Fd told(event.fd);
  struct stat changed {
  }, own{};
  ASSERT_EQ(::fstat(told.get(), &changed), 0);
  ASSERT_EQ(::fstat(file.get(), &own), 0);
  EXPECT_EQ(changed.st_ino, own.st_ino);
}

CR_TEST(fanotify, a_group_that_reports_handles_goes_on) {
  test::Scratch scratch;
  Fd group(MUST(SYSCALL(::fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_REPORT_FID, O_RDONLY),
                        "fanotify_init")));
  MUST(SYSCALL(::fanotify_mark(group.get(), FAN_MARK_ADD, FAN_CREATE | FAN_ONDIR, AT_FDCWD,
                               scratch.path().c_str()),
               "fanotify_mark"));
  const std::string before = told_of(group);
  checkpoint_restore();
  EXPECT_EQ(told_of(group), before);
  ASSERT_EQ(::mkdir(scratch.file("new").c_str(), 0700), 0);
  EXPECT_GT(waiting(group), 0);
  ::rmdir(scratch.file("new").c_str());
}

CR_TEST_WITH(fanotify, one_that_decides_on_permissions_is_refused,
             .refused_with = "it decides on permissions") {
  Fd group(MUST(SYSCALL(::fanotify_init(FAN_CLASS_CONTENT, O_RDONLY), "fanotify_init")));
  checkpoint_restore();
}

}  // namespace
}  // namespace ncr
