#include <sys/stat.h>

#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

class FifoTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(::mkdtemp(dir_), nullptr);
    path_ = std::string(dir_) + "/fifo";
    ASSERT_EQ(::mkfifo(path_.c_str(), 0640), 0);
    read_ = value_of(sys::open(path_.c_str(), O_RDONLY | O_NONBLOCK));
    write_ = value_of(sys::open(path_.c_str(), O_WRONLY));
  }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::rmdir(dir_);
  }
  char dir_[32] = "/tmp/nativecr-fifo-XXXXXX";
  std::string path_;
  Fd read_;
  Fd write_;
};

std::string read_some(int fd) {
  char text[64];
  ssize_t got = ::read(fd, text, sizeof text);
  return std::string(text, got > 0 ? static_cast<size_t>(got) : 0);
}

TEST_F(FifoTest, keeps_bytes_and_both_ends_without_waiting) {
  ASSERT_EQ(::write(write_.get(), "queued", 6), 6);
  Reopening trip;
  uint32_t read = trip.dump(read_.get());
  uint32_t write = trip.dump(write_.get());
  EXPECT_EQ(read_some(read_.get()), "queued");
  read_ = Fd();
  write_ = Fd();
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_EQ(read_some(trip.opened(read)), "queued");
  EXPECT_EQ(::fcntl(trip.opened(read), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
  EXPECT_EQ(::fcntl(trip.opened(write), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY);
}

TEST_F(FifoTest, does_not_double_bytes_that_somebody_kept) {
  ASSERT_EQ(::write(write_.get(), "kept", 4), 4);
  Reopening trip;
  uint32_t read = trip.dump(read_.get());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_EQ(read_some(trip.opened(read)), "kept");
  EXPECT_EQ(read_some(trip.opened(read)), "");
}

TEST_F(FifoTest, comes_back_unlinked) {
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  ASSERT_EQ(::write(write_.get(), "x", 1), 1);
  Reopening trip;
  uint32_t read = trip.dump(read_.get());
  uint32_t write = trip.dump(write_.get());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_NE(::access(path_.c_str(), F_OK), 0);
  ASSERT_EQ(::write(trip.opened(write), "y", 1), 1);
  EXPECT_EQ(read_some(trip.opened(read)), "xy");
  struct stat now {};
  ASSERT_EQ(::fstat(trip.opened(read), &now), 0);
  EXPECT_EQ(now.st_mode & 07777, 0640u);
}

TEST_F(FifoTest, names_a_path_that_is_something_else_at_restore) {
  Reopening trip;
  (void)trip.dump(read_.get());
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  Fd file = value_of(sys::open(path_.c_str(), O_WRONLY | O_CREAT, 0600));
  Result<> restored = trip.restore();
  ASSERT_FALSE(restored.ok());
  EXPECT_NE(restored.error().text().find("mkfifo"), std::string::npos);
}

CR_TEST(fifo, bytes_in_flight_arrive) {
  test::Scratch scratch;
  std::string path = scratch.file("fifo");
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  Fd read = MUST(sys::open(path.c_str(), O_RDONLY | O_NONBLOCK));
  Fd write = MUST(sys::open(path.c_str(), O_WRONLY));
  ASSERT_EQ(::write(write.get(), "queued", 6), 6);
  checkpoint_restore();
  EXPECT_EQ(read_some(read.get()), "queued");
  ASSERT_EQ(::write(write.get(), "more", 4), 4);
  EXPECT_EQ(read_some(read.get()), "more");
}

}  // namespace
}  // namespace ncr
