#include "engine/image/image_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/engine/image/sample_image.h"

namespace ncr {
namespace {

constexpr const char* kAllFiles[] = {kInventoryFile,    kTasksFile,   kFilesFile,
                                     kSharedMemoryFile, kPagemapFile, kPagesFile};

class ImageReader : public ::testing::Test {
 protected:
  void SetUp() override {
    Result<ImageDir> images = ImageDir::create(path());
    ASSERT_TRUE(images.ok());
    write_sample(images.value(), SampleImage());
  }

  const std::string& path() const { return scratch_.path(); }
  std::string file(const char* name) const { return path() + "/" + name; }

  // The image is refused as damaged, and the message holds `expected`.
  void expect_refused(const std::string& expected, PageCheck check = PageCheck::kVerify) {
    Result<Image> image = Image::open(path(), check);
    ASSERT_FALSE(image.ok()) << expected;
    EXPECT_EQ(image.error().code(), ErrorCode::kMalformed) << image.error().text();
    EXPECT_NE(image.error().text().find(expected), std::string::npos) << image.error().text();
  }

 private:
  ScratchDir scratch_;
};

TEST_F(ImageReader, hands_out_what_was_written) {
  Result<Image> opened = Image::open(path(), PageCheck::kVerify);
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  Image image = opened.take();
  ASSERT_EQ(image.tasks.size(), 3u);
  EXPECT_EQ(image.tasks[0].pid(), 100);
  EXPECT_EQ(image.tasks[0].threads_size(), 2);
  EXPECT_EQ(image.files.size(), 2u);
  EXPECT_EQ(image.files.at(2).path(), "/some/file");
  ASSERT_EQ(image.shared_memory.size(), 1u);
  EXPECT_EQ(image.task_pages.at(102).runs_size(), 3);
  EXPECT_EQ(image.shmem_pages.at(7).runs(0).stored(), 8 * 4096u);
  EXPECT_EQ(image.inventory.uuid().size(), 16u);
  char byte = 0;
  ASSERT_TRUE(image.pages.read(&byte, 1, 9 * 4096).ok());
  EXPECT_EQ(byte, 'j');
}

TEST_F(ImageReader, notices_every_flipped_bit) {
  for (const char* name : kAllFiles) {
    std::string good = get_file(file(name));
    size_t step = good.size() > 2000 ? 97 : 1;
    for (size_t at = 0; at < good.size(); at += step) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
      put_file(file(name), bad);
      expect_refused(name);
    }
    put_file(file(name), good);
  }
}

TEST_F(ImageReader, notices_every_truncation_and_every_byte_too_many) {
  for (const char* name : kAllFiles) {
    std::string good = get_file(file(name));
    size_t step = good.size() > 2000 ? 61 : 1;
    for (size_t size = 0; size < good.size(); size += step) {
      put_file(file(name), good.substr(0, size));
      expect_refused(name);
    }
    put_file(file(name), good + '\0');
    expect_refused(name);
    put_file(file(name), good);
  }
}

TEST_F(ImageReader, notices_a_missing_file) {
  for (const char* name : kAllFiles) {
    std::string good = get_file(file(name));
    ASSERT_EQ(::unlink(file(name).c_str()), 0);
    expect_refused(name);
    put_file(file(name), good);
  }
}

TEST_F(ImageReader, notices_two_files_that_changed_places) {
  for (const char* one : kAllFiles) {
    for (const char* other : kAllFiles) {
      if (one == other) continue;
      ASSERT_EQ(
          ::renameat2(AT_FDCWD, file(one).c_str(), AT_FDCWD, file(other).c_str(), RENAME_EXCHANGE),
          0);
      Result<Image> image = Image::open(path(), PageCheck::kVerify);
      ASSERT_FALSE(image.ok());
      EXPECT_EQ(image.error().code(), ErrorCode::kMalformed);
      ASSERT_EQ(
          ::renameat2(AT_FDCWD, file(one).c_str(), AT_FDCWD, file(other).c_str(), RENAME_EXCHANGE),
          0);
    }
  }
}

TEST_F(ImageReader, notices_a_file_of_another_image) {
  SampleImage other;
  other.tasks[0].set_comm("other!");
  ScratchDir scratch;
  Result<ImageDir> images = ImageDir::create(scratch.path());
  ASSERT_TRUE(images.ok());
  write_sample(images.value(), other);
  put_file(file(kTasksFile), get_file(scratch.path() + "/" + kTasksFile));
  expect_refused("tasks.img: damaged, or of another image");
}

TEST_F(ImageReader, notices_an_image_file_that_does_not_belong) {
  put_file(file("more.img"), "x");
  expect_refused("more.img: not of this image");
  ASSERT_EQ(::unlink(file("more.img").c_str()), 0);
  put_file(file("descriptors.json"), "[]");
  EXPECT_TRUE(Image::open(path(), PageCheck::kVerify).ok());
}

TEST_F(ImageReader, neither_waits_on_a_fifo_nor_follows_a_link) {
  for (const char* name : kAllFiles) {
    std::string kept = file(name) + ".kept";
    ASSERT_EQ(::rename(file(name).c_str(), kept.c_str()), 0);
    ASSERT_EQ(::mkfifo(file(name).c_str(), 0600), 0);
    expect_refused(strf("%s: not a regular file", name));
    ASSERT_EQ(::unlink(file(name).c_str()), 0);
    ASSERT_EQ(::symlink(kept.c_str(), file(name).c_str()), 0);
    expect_refused(strf("%s: not a regular file", name));
    ASSERT_EQ(::unlink(file(name).c_str()), 0);
    ASSERT_EQ(::mkdir(file(name).c_str(), 0700), 0);
    expect_refused(strf("%s: not a regular file", name));
    ASSERT_EQ(::rmdir(file(name).c_str()), 0);
    ASSERT_EQ(::rename(kept.c_str(), file(name).c_str()), 0);
  }
}

TEST_F(ImageReader, says_that_a_newer_format_is_newer) {
  std::string inventory = get_file(file(kInventoryFile));
  inventory[8] = 3;
  put_file(file(kInventoryFile), inventory);
  expect_refused("written by a newer nativecr: format 3, this one reads up to 1");
}

TEST_F(ImageReader, takes_no_memory_for_a_huge_empty_file) {
  ASSERT_EQ(::truncate(file(kInventoryFile).c_str(), off_t{1} << 40), 0);
  expect_refused(kInventoryFile);
}

TEST_F(ImageReader, leaves_page_payload_unread_if_told_so) {
  std::string pages = get_file(file(kPagesFile));
  pages[5000] = '!';
  put_file(file(kPagesFile), pages);
  EXPECT_TRUE(Image::open(path(), PageCheck::kSkip).ok());
  expect_refused("pages-1.img: damaged between byte 0 and 12288");
}

TEST(image_reader, names_a_directory_that_is_not_there) {
  Result<Image> image = Image::open("/nonexistent", PageCheck::kSkip);
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.error().code(), ErrorCode::kSystem);
  EXPECT_NE(image.error().text().find("/nonexistent"), std::string::npos);
}

TEST(image_reader, says_that_a_directory_holds_no_image) {
  ScratchDir scratch;
  Result<Image> image = Image::open(scratch.path(), PageCheck::kSkip);
  ASSERT_FALSE(image.ok());
  EXPECT_NE(image.error().text().find("not an image, or its dump did not finish"),
            std::string::npos);
}

}  // namespace
}  // namespace ncr
