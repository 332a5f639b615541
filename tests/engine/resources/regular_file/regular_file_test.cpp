#include <sched.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

class RegularFileTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(::mkdtemp(dir_), nullptr);
    path_ = std::string(dir_) + "/file";
    Fd file = value_of(sys::open(path_.c_str(), O_WRONLY | O_CREAT, 0640));
    ASSERT_TRUE(sys::write_all(file, "0123456789", 10).ok());
  }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::rmdir(dir_);
  }
  static uint64_t position(int fd) { return static_cast<uint64_t>(::lseek(fd, 0, SEEK_CUR)); }

  char dir_[32] = "/tmp/nativecr-file-XXXXXX";
  std::string path_;
};

TEST_F(RegularFileTest, keeps_position_and_flags) {
  Fd fd = value_of(sys::open(path_.c_str(), O_RDWR | O_APPEND | O_NOATIME));
  ASSERT_EQ(::lseek(fd.get(), 4, SEEK_SET), 4);
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_EQ(position(trip.opened(id)), 4u);
  EXPECT_EQ(::fcntl(trip.opened(id), F_GETFL), ::fcntl(fd.get(), F_GETFL));
}

TEST_F(RegularFileTest, keeps_the_flags_of_synchronous_writes) {
  Fd fd = value_of(sys::open(path_.c_str(), O_WRONLY | O_SYNC));
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  ASSERT_TRUE(trip.restore().ok());
  EXPECT_EQ(::fcntl(trip.opened(id), F_GETFL) & O_SYNC, O_SYNC);
}

TEST_F(RegularFileTest, opens_a_log_that_has_grown) {
  Fd fd = value_of(sys::open(path_.c_str(), O_WRONLY | O_APPEND));
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  ASSERT_TRUE(sys::write_all(fd, "more", 4).ok());
  EXPECT_TRUE(trip.restore().ok());
  EXPECT_GE(trip.opened(id), 200);
}

TEST_F(RegularFileTest, refuses_a_file_that_is_shorter_than_it_was) {
  Fd fd = value_of(sys::open(path_.c_str(), O_RDONLY));
  Reopening trip;
  (void)trip.dump(fd.get());
  ASSERT_EQ(::truncate(path_.c_str(), 3), 0);
  Result<> restored = trip.restore();
  ASSERT_FALSE(restored.ok());
  EXPECT_NE(restored.error().text().find("3 bytes, 10 when"), std::string::npos)
      << restored.error().text();
}

TEST_F(RegularFileTest, refuses_a_file_that_became_a_directory) {
  Fd fd = value_of(sys::open(path_.c_str(), O_RDONLY));
  Reopening trip;
  (void)trip.dump(fd.get());
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  ASSERT_EQ(::mkdir(path_.c_str(), 0700), 0);
  Result<> restored = trip.restore();
  ASSERT_FALSE(restored.ok());
  EXPECT_NE(restored.error().text().find("another type"), std::string::npos);
  ::rmdir(path_.c_str());
}

TEST_F(RegularFileTest, keeps_directories_and_what_is_only_a_path) {
  Fd directory = value_of(sys::open(dir_, O_RDONLY | O_DIRECTORY));
  Fd only_path = value_of(sys::open(path_.c_str(), O_PATH));
  Reopening trip;
  uint32_t first = trip.dump(directory.get());
  uint32_t second = trip.dump(only_path.get());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_EQ(::fcntl(trip.opened(first), F_GETFL) & O_DIRECTORY, O_DIRECTORY);
  EXPECT_EQ(::fcntl(trip.opened(second), F_GETFL) & O_PATH, O_PATH);
  EXPECT_EQ(::openat(trip.opened(first), "nothing here", O_RDONLY), -1);
}

TEST_F(RegularFileTest, a_path_to_a_symbolic_link_stays_one_to_the_link) {
  std::string link = std::string(dir_) + "/link";
  ASSERT_EQ(::symlink("file", link.c_str()), 0);
  Fd fd = value_of(sys::open(link.c_str(), O_PATH | O_NOFOLLOW));
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  struct stat now {};
  ASSERT_EQ(::fstat(trip.opened(id), &now), 0);
  EXPECT_TRUE(S_ISLNK(now.st_mode));
  ::unlink(link.c_str());
}

TEST_F(RegularFileTest, a_name_that_ends_as_the_kernel_marks_deleted_files_is_a_name) {
  std::string odd = path_ + " (deleted)";
  Fd fd = value_of(sys::open(odd.c_str(), O_RDWR | O_CREAT, 0600));
  Reopening trip;
  const schema::OpenFile& record = trip.record(trip.dump(fd.get()));
  EXPECT_FALSE(record.regular_file().has_ghost());
  EXPECT_EQ(record.regular_file().path(), odd);
  ::unlink(odd.c_str());
}

TEST_F(RegularFileTest, finds_another_name_in_the_same_folder) {
  Fd fd = value_of(sys::open(path_.c_str(), O_RDWR));
  std::string other = path_ + ".1";
  ASSERT_EQ(::rename(path_.c_str(), other.c_str()), 0);
  ASSERT_EQ(::link(other.c_str(), path_.c_str()), 0);
  Fd named = value_of(sys::open(path_.c_str(), O_RDWR));
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  Reopening trip;
  EXPECT_EQ(trip.record(trip.dump(named.get())).regular_file().path(), other);
  ::unlink(other.c_str());
}

TEST_F(RegularFileTest, finds_another_name_in_another_folder) {
  Fd fd = value_of(sys::open(path_.c_str(), O_RDWR));
  std::string folder = strf("/tmp/nativecr-elsewhere-%d", ::getpid());
  std::string other = folder + "/name";
  ASSERT_EQ(::mkdir(folder.c_str(), 0700), 0);
  ASSERT_EQ(::link(path_.c_str(), other.c_str()), 0);
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  Reopening trip;
  EXPECT_EQ(trip.record(trip.dump(fd.get())).regular_file().path(), other);
  ::unlink(other.c_str());
  ::rmdir(folder.c_str());
}

CR_TEST_WITH(regular_file, a_file_whose_other_name_nobody_sees_is_refused,
             .refused_with = "its other names cannot be found") {
  test::Scratch scratch;
  const std::string folder = scratch.file("folder");
  ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
  ASSERT_EQ(::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(::mkdir(folder.c_str(), 0700), 0);
  Fd fd = MUST(sys::open(scratch.file("name").c_str(), O_RDWR | O_CREAT, 0600));
  ASSERT_EQ(::link(scratch.file("name").c_str(), (folder + "/name").c_str()), 0);
  ASSERT_EQ(::unlink(scratch.file("name").c_str()), 0);
  ASSERT_EQ(::mount("tmpfs", folder.c_str(), "tmpfs", 0, nullptr), 0);
  checkpoint_restore();
  ASSERT_EQ(::umount(folder.c_str()), 0);
}

TEST_F(RegularFileTest, two_descriptions_of_an_empty_unlinked_file_stay_one_file) {
  Fd first = value_of(sys::open(path_.c_str(), O_RDWR | O_TRUNC));
  Fd second = value_of(sys::open(path_.c_str(), O_RDONLY));
  ASSERT_EQ(::fchmod(first.get(), 0604), 0);
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  Reopening trip;
  uint32_t a = trip.dump(first.get());
  uint32_t b = trip.dump(second.get());
  EXPECT_EQ(trip.record(a).group_id(), trip.record(b).group_id());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  struct stat one {};
  struct stat two {};
  ASSERT_EQ(::fstat(trip.opened(a), &one), 0);
  ASSERT_EQ(::fstat(trip.opened(b), &two), 0);
  EXPECT_EQ(one.st_ino, two.st_ino);
  EXPECT_EQ(one.st_nlink, 0u);
  EXPECT_EQ(one.st_mode & 07777, 0604u);
  EXPECT_NE(::access(path_.c_str(), F_OK), 0);
}

TEST_F(RegularFileTest, an_unlinked_file_gets_its_bytes_its_holes_and_its_size) {
  Fd fd = value_of(sys::open(path_.c_str(), O_RDWR));
  ASSERT_EQ(::ftruncate(fd.get(), 3 * 4096 + 100), 0);
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  uint64_t content = trip.record(id).regular_file().ghost().content();
  ASSERT_NE(content, 0u);
  // As the page store would have it: one page of data at 8192, the rest holes, and the last page
  // beyond the end.
  char name[] = "/tmp/nativecr-pages-XXXXXX";
  Fd pages(::mkostemp(name, O_CLOEXEC));
  ::unlink(name);
  std::string data = std::string(4096, 'a') + std::string(4096, 'b');
  ASSERT_TRUE(sys::write_all(pages, data.data(), data.size()).ok());
  trip.image().pages = std::move(pages);
  schema::PageMap& map = trip.image().shmem_pages[content];
  schema::PageRun* run = map.add_runs();
  run->set_start(8192);
  run->set_pages(2);
  run->set_stored(0);
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  struct stat now {};
  ASSERT_EQ(::fstat(trip.opened(id), &now), 0);
  EXPECT_EQ(now.st_size, 3 * 4096 + 100);
  EXPECT_EQ(now.st_nlink, 0u);
  char byte = 0;
  ASSERT_EQ(::pread(trip.opened(id), &byte, 1, 8192), 1);
  EXPECT_EQ(byte, 'a');
  ASSERT_EQ(::pread(trip.opened(id), &byte, 1, 3 * 4096 + 99), 1);
  EXPECT_EQ(byte, 'b');
  EXPECT_EQ(::lseek(trip.opened(id), 0, SEEK_DATA), 8192);
}

// In a process of its own: 0, or what failed.
int reopen_on_read_only_mount(const char* folder) {
  if (::unshare(CLONE_NEWNS) != 0) return 77;
  ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  if (::mount("test", folder, "tmpfs", 0, nullptr) != 0) return 77;
  const std::string path = std::string(folder) + "/ghost";
  Fd made = value_of(sys::open(path.c_str(), O_WRONLY | O_CREAT, 0604));
  Fd fd = value_of(sys::open(path.c_str(), O_RDONLY));
  made.close();
  ::unlink(path.c_str());
  if (::mount(nullptr, folder, nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) != 0) return 1;
  Reopening trip;
  const uint32_t id = trip.dump(fd.get());
  Result<> restored = trip.restore();
  if (!restored.ok()) std::fprintf(stderr, "%s\n", restored.error().text().c_str());
  if (!restored.ok()) return 2;
  struct stat now {};
  if (::fstat(trip.opened(id), &now) != 0 || now.st_nlink != 0) return 3;
  if ((now.st_mode & 07777) != 0604) return 4;
  const std::string link =
      value_of(sys::read_link_at(Fd(), strf("/proc/self/fd/%d", trip.opened(id)).c_str()));
  return link == path + " (deleted)" ? 0 : 5;
}

TEST_F(RegularFileTest, an_unlinked_file_comes_back_on_a_read_only_mount) {
  const pid_t child = test::fork_child([this] { ::_exit(reopen_on_read_only_mount(dir_)); });
  int status = 0;
  ASSERT_TRUE(test::wait_exit(child, &status, std::chrono::seconds(20)));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no mount namespace can be made";
  EXPECT_EQ(status, 0);
}

TEST_F(RegularFileTest, an_unlinked_file_leaves_alone_what_has_its_name_now) {
  Fd fd = value_of(sys::open(path_.c_str(), O_RDWR | O_TRUNC));
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  Fd successor = value_of(sys::open(path_.c_str(), O_RDWR | O_CREAT, 0600));
  ASSERT_TRUE(sys::write_all(successor, "new", 3).ok());
  Reopening trip;
  (void)trip.dump(fd.get());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_EQ(value_of(sys::read_file(path_.c_str())), "new");
}

TEST_F(RegularFileTest, an_unlinked_directory_comes_back_unlinked) {
  std::string below = std::string(dir_) + "/below";
  ASSERT_EQ(::mkdir(below.c_str(), 0700), 0);
  Fd fd = value_of(sys::open(below.c_str(), O_RDONLY | O_DIRECTORY));
  ASSERT_EQ(::rmdir(below.c_str()), 0);
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_NE(::access(below.c_str(), F_OK), 0);
  EXPECT_EQ(::openat(trip.opened(id), "new", O_WRONLY | O_CREAT, 0600), -1);
}

TEST_F(RegularFileTest, a_lock_of_the_description_is_taken_again) {
  Fd fd = value_of(sys::open(path_.c_str(), O_RDWR));
  ASSERT_EQ(::flock(fd.get(), LOCK_EX), 0);
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  fd = Fd();
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  Fd rival = value_of(sys::open(path_.c_str(), O_RDWR));
  EXPECT_NE(::flock(rival.get(), LOCK_SH | LOCK_NB), 0);
  EXPECT_GE(trip.opened(id), 200);
}

TEST_F(RegularFileTest, a_program_that_was_replaced_is_refused) {
  Fd program = value_of(sys::open("/proc/self/exe", O_RDONLY));
  std::string bytes(8192, '\0');
  ASSERT_TRUE(sys::pread_exact(program, bytes.data(), bytes.size(), 0).ok());
  Fd copy = value_of(sys::open(path_.c_str(), O_RDWR | O_TRUNC));
  ASSERT_TRUE(sys::write_all(copy, bytes.data(), bytes.size()).ok());
  Reopening trip;
  uint32_t id = value_of(
      trip.table().add_mapped(value_of(sys::open(path_.c_str(), O_PATH)), path_, false, O_RDONLY));
  EXPECT_TRUE(trip.record(id).regular_file().elf_head().empty()) << "that can wait";
  ASSERT_TRUE(trip.table().finish().ok());
  EXPECT_FALSE(trip.record(id).regular_file().elf_head().empty());
  ASSERT_EQ(::pwrite(copy.get(), "other", 5, 64), 5);
  Result<> restored = trip.restore();
  ASSERT_FALSE(restored.ok());
  EXPECT_NE(restored.error().text().find("upgrade"), std::string::npos) << restored.error().text();
}

TEST_F(RegularFileTest, a_mapped_file_is_met_once_per_way_of_access) {
  Reopening trip;
  auto add = [&](uint32_t mode) {
    Fd fd = value_of(sys::open(path_.c_str(), O_PATH));
    return value_of(trip.table().add_mapped(std::move(fd), path_, false, mode));
  };
  const uint32_t one = add(O_RDONLY);
  EXPECT_EQ(add(O_RDONLY), one);
  EXPECT_NE(add(O_RDWR), one);
}

CR_TEST(regular_file, goes_on_where_it_was) {
  test::Scratch scratch;
  Fd fd = MUST(sys::open(scratch.file("log").c_str(), O_RDWR | O_CREAT | O_APPEND, 0600));
  MUST(sys::write_all(fd, "before ", 7));
  checkpoint_restore();
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_CUR), 7);
  MUST(sys::write_all(fd, "after", 5));
  EXPECT_EQ(test::file_text(scratch.file("log")), "before after");
}

CR_TEST(regular_file, dup_and_fork_still_share_the_position) {
  test::Scratch scratch;
  Fd fd = MUST(sys::open(scratch.file("data").c_str(), O_RDWR | O_CREAT, 0600));
  Fd copy(::dup(fd.get()));
  Fd other = MUST(sys::open(scratch.file("data").c_str(), O_RDWR));
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  Fd read(ends[0]);
  Fd write(ends[1]);
  pid_t child = test::fork_child([&] {
    char go = 0;
    MUST(sys::read_exact(read, &go, 1));
    MUST(sys::write_all(fd, "child", 5));
  });
  checkpoint_restore();
  MUST(sys::write_all(write, "x", 1));
  int status = 0;
  EXPECT_TRUE(test::wait_exit(child, &status, std::chrono::seconds(10)));
  EXPECT_EQ(::lseek(copy.get(), 0, SEEK_CUR), 5) << "moved by the child";
  EXPECT_EQ(::lseek(other.get(), 0, SEEK_CUR), 0) << "a description of its own";
}

CR_TEST(regular_file, an_unlinked_file_keeps_its_content_and_stays_one_file) {
  test::Scratch scratch;
  std::string path = scratch.file("gone");
  Fd fd = MUST(sys::open(path.c_str(), O_RDWR | O_CREAT, 0640));
  Fd reader = MUST(sys::open(path.c_str(), O_RDONLY));
  std::string content(100'000, 'c');
  MUST(sys::write_all(fd, content.data(), content.size()));
  ASSERT_EQ(::ftruncate(fd.get(), 1 << 20), 0);
  ASSERT_EQ(::unlink(path.c_str()), 0);
  checkpoint_restore();
  EXPECT_FALSE(test::file_exists(path));
  std::string now(content.size(), '\0');
  MUST(sys::pread_exact(reader, now.data(), now.size(), 0));
  EXPECT_EQ(now, content);
  struct stat stat {};
  ASSERT_EQ(::fstat(fd.get(), &stat), 0);
  EXPECT_EQ(stat.st_size, 1 << 20);
  EXPECT_EQ(stat.st_nlink, 0u);
  EXPECT_EQ(stat.st_mode & 07777, 0640u);
  MUST(sys::pwrite_all(fd, "new", 3, 0));
  MUST(sys::pread_exact(reader, now.data(), 3, 0));
  EXPECT_EQ(now.substr(0, 3), "new");
}

CR_TEST(regular_file, a_file_that_never_had_a_name_can_still_be_given_one) {
  test::Scratch scratch;
  Fd fd = MUST(sys::open(scratch.path().c_str(), O_TMPFILE | O_RDWR, 0640));
  MUST(sys::write_all(fd, "text", 4));
  checkpoint_restore();
  char text[5] = "";
  MUST(sys::pread_exact(fd, text, 4, 0));
  EXPECT_STREQ(text, "text");
  const std::string self = strf("/proc/self/fd/%d", fd.get());
  EXPECT_EQ(
      ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, scratch.file("named").c_str(), AT_SYMLINK_FOLLOW),
      0);
}

CR_TEST(regular_file, what_was_in_a_removed_folder_comes_back_removed) {
  test::Scratch scratch;
  const std::string outer = scratch.file("outer");
  const std::string inner = outer + "/inner";
  ASSERT_EQ(::mkdir(outer.c_str(), 0700), 0);
  ASSERT_EQ(::mkdir(inner.c_str(), 0700), 0);
  Fd folder = MUST(sys::open(inner.c_str(), O_RDONLY | O_DIRECTORY));
  Fd file = MUST(sys::open((inner + "/file").c_str(), O_RDWR | O_CREAT, 0600));
  ASSERT_EQ(::unlink((inner + "/file").c_str()), 0);
  ASSERT_EQ(::rmdir(inner.c_str()), 0);
  ASSERT_EQ(::rmdir(outer.c_str()), 0);
  checkpoint_restore();
  struct stat now {};
  ASSERT_EQ(::fstat(folder.get(), &now), 0);
  EXPECT_EQ(now.st_nlink, 0u);
  ASSERT_EQ(::fstat(file.get(), &now), 0);
  EXPECT_EQ(now.st_nlink, 0u);
  EXPECT_FALSE(test::file_exists(outer));
}

CR_TEST(regular_file, directories_and_paths_stay_open) {
  test::Scratch scratch;
  test::append_to(scratch.file("inside"), "text");
  Fd directory = MUST(sys::open(scratch.path().c_str(), O_RDONLY | O_DIRECTORY));
  Fd only_path = MUST(sys::open(scratch.path().c_str(), O_PATH));
  checkpoint_restore();
  EXPECT_EQ(MUST(sys::read_file_at(directory, "inside")), "text");
  EXPECT_EQ(MUST(sys::read_file_at(only_path, "inside")), "text");
}

CR_TEST(regular_file, close_on_exec_is_of_the_descriptor) {
  Fd with = MUST(sys::open("/dev/null", O_RDONLY));
  Fd without(::dup(with.get()));
  checkpoint_restore();
  EXPECT_EQ(::fcntl(with.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::fcntl(without.get(), F_GETFD), 0);
}

CR_TEST(regular_file, a_deleted_file_behind_a_mapping_comes_back) {
  test::Scratch scratch;
  Fd fd = MUST(sys::open(scratch.file("mapped").c_str(), O_RDWR | O_CREAT, 0600));
  std::string content(3 * kPageSize, 'm');
  MUST(sys::write_all(fd, content.data(), content.size()));
  auto* shared = static_cast<char*>(
      ::mmap(nullptr, content.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  auto* own = static_cast<char*>(
      ::mmap(nullptr, content.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd.get(), 0));
  ASSERT_NE(shared, MAP_FAILED);
  ASSERT_NE(own, MAP_FAILED);
  own[0] = 'p';
  ASSERT_EQ(::unlink(scratch.file("mapped").c_str()), 0);
  checkpoint_restore();
  EXPECT_EQ(own[0], 'p');
  EXPECT_EQ(own[5000], 'm');
  shared[1] = 's';
  char byte = 0;
  EXPECT_EQ(::pread(fd.get(), &byte, 1, 1), 1);
  EXPECT_EQ(byte, 's') << "mapping and descriptor are of one file";
}

}  // namespace
}  // namespace ncr
