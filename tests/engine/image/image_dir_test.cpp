#include "engine/image/image_dir.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "engine/image/image_reader.h"
#include "tests/engine/image/sample_image.h"

namespace ncr {
namespace {

TEST(image_dir, is_a_secret_and_appears_whole) {
  ScratchDir scratch;
  std::string path = scratch.path() + "/image";
  {
    Result<ImageDir> images = ImageDir::create(path);
    ASSERT_TRUE(images.ok()) << images.error().text();
    write_sample(images.value(), SampleImage());
    EXPECT_FALSE(std::filesystem::exists(path + "/inventory.img.new"));
  }
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
  for (const auto& file : std::filesystem::directory_iterator(path)) {
    ASSERT_EQ(::stat(file.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u) << file.path();
    EXPECT_EQ(file.path().extension(), ".img") << file.path();
  }
}

TEST(image_dir, that_is_not_committed_leaves_nothing_of_its_own) {
  ScratchDir scratch;
  std::string path = scratch.path() + "/image";
  {
    Result<ImageDir> images = ImageDir::create(path);
    ASSERT_TRUE(images.ok());
    ASSERT_TRUE(images.value().create_raw(kPagesFile).ok());
    ASSERT_TRUE(images.value().write_records(kTasksFile, {}).ok());
  }
  EXPECT_FALSE(std::filesystem::exists(path));

  ASSERT_TRUE(std::filesystem::create_directory(path));
  put_file(path + "/notes.txt", "mine");
  {
    Result<ImageDir> images = ImageDir::create(path);
    ASSERT_TRUE(images.ok());
    ASSERT_TRUE(images.value().create_raw(kPagesFile).ok());
  }
  EXPECT_TRUE(std::filesystem::exists(path + "/notes.txt"));
  EXPECT_FALSE(std::filesystem::exists(path + "/pages-1.img"));
}

TEST(image_dir, names_the_engine_that_is_writing_there) {
  ScratchDir scratch;
  Result<ImageDir> first = ImageDir::create(scratch.path());
  ASSERT_TRUE(first.ok());
  Result<ImageDir> second = ImageDir::create(scratch.path());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), ErrorCode::kUsage);
  EXPECT_NE(second.error().text().find(strf("process %d", ::getpid())), std::string::npos)
      << second.error().text();
}

TEST(image_dir, refuses_a_directory_with_an_image_or_the_rest_of_one) {
  ScratchDir scratch;
  for (const char* name : {"inventory.img", "pages-1.img", "tasks.img"}) {
    std::string path = scratch.path() + "/" + name + ".dir";
    ASSERT_TRUE(std::filesystem::create_directory(path));
    put_file(path + "/" + name, "x");
    Result<ImageDir> images = ImageDir::create(path);
    ASSERT_FALSE(images.ok());
    EXPECT_EQ(images.error().code(), ErrorCode::kUsage);
    EXPECT_NE(images.error().text().find("choose another directory"), std::string::npos);
    EXPECT_TRUE(std::filesystem::exists(path + "/" + name));
  }
}

TEST(image_dir, names_the_path_it_cannot_create) {
  Result<ImageDir> images = ImageDir::create("/nonexistent/image");
  ASSERT_FALSE(images.ok());
  EXPECT_EQ(images.error().os_error(), ENOENT);
  EXPECT_NE(images.error().text().find("/nonexistent/image"), std::string::npos);
}

TEST(image_dir, a_committed_image_can_be_moved_and_counts_its_bytes) {
  ScratchDir scratch;
  Result<ImageDir> images = ImageDir::create(scratch.path());
  ASSERT_TRUE(images.ok());
  ImageDir moved = images.take();
  write_sample(moved, SampleImage());
  uint64_t total = 0;
  for (const auto& file : std::filesystem::directory_iterator(scratch.path())) {
    total += file.file_size();
  }
  EXPECT_EQ(moved.bytes_written(), total);
}

}  // namespace
}  // namespace ncr
