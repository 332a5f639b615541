#include "engine/dedup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/engine/image/sample_image.h"

namespace ncr {
namespace {

constexpr uint64_t kPage = 4096;

class Dedup : public testing::Test {
 protected:
  // "1" is whole; "2" has the heap of its first task there, and nothing else.
  Dedup() {
    SampleImage sample;
    sample.inventory.set_uuid(std::string(16, 'A'));
    write("1", sample);
    sample.inventory.set_uuid(std::string(16, 'B'));
    sample.inventory.set_parent("../1");
    sample.inventory.set_parent_uuid(std::string(16, 'A'));
    sample.page_maps[0].mutable_runs(0)->set_in_parent(kPage);
    write("2", sample);
  }
  void write(const std::string& name, const SampleImage& sample) {
    Result<ImageDir> images = ImageDir::create(dir(name));
    ASSERT_TRUE(images.ok());
    write_sample(images.value(), sample);
  }
  std::string dir(const std::string& name) const { return scratch_.path() + "/" + name; }

  ScratchDir scratch_;
};

TEST_F(Dedup, gives_up_what_is_not_used) {
  const std::string before = get_file(dir("1/pages-1.img"));
  Result<DedupReport> done = dedup(dir("2"));
  ASSERT_TRUE(done.ok()) << done.error().text();
  EXPECT_EQ(done.value().pages, 6u);  // of ten, four are used
  const std::string after = get_file(dir("1/pages-1.img"));
  ASSERT_EQ(after.size(), before.size());
  EXPECT_EQ(after.substr(kPage, 4 * kPage), before.substr(kPage, 4 * kPage));
  EXPECT_EQ(after.substr(0, kPage), std::string(kPage, '\0'));
  EXPECT_EQ(after.substr(5 * kPage), std::string(5 * kPage, '\0'));
  Result<Image> image = Image::open(dir("2"), PageCheck::kVerify);
  ASSERT_TRUE(image.ok()) << image.error().text();
  char byte = 0;
  ASSERT_TRUE(
      image.value().pages.read(&byte, 1, image.value().task_pages.at(100).runs(0).stored()).ok());
  EXPECT_EQ(byte, 'b');
}

TEST_F(Dedup, the_parent_is_refused_by_itself) {
  ASSERT_TRUE(dedup(dir("2")).ok());
  Result<Image> image = Image::open(dir("1"), PageCheck::kVerify);
  ASSERT_FALSE(image.ok());
  EXPECT_NE(image.error().text().find("given up to a later image (dedup)"), std::string::npos)
      << image.error().text();
}

TEST_F(Dedup, done_twice_finds_nothing_more) {
  ASSERT_TRUE(dedup(dir("2")).ok());
  Result<DedupReport> again = dedup(dir("2"));
  ASSERT_TRUE(again.ok()) << again.error().text();
  EXPECT_EQ(again.value().pages, 0u);
}

TEST_F(Dedup, a_whole_image_has_nothing_to_give_up) {
  Result<DedupReport> done = dedup(dir("1"));
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(done.value().pages, 0u);
  EXPECT_TRUE(Image::open(dir("1"), PageCheck::kVerify).ok());
}

// Killed between its two renames.
TEST_F(Dedup, half_done_is_sound_and_can_be_finished) {
  const std::string old_map = get_file(dir("1/pagemap.img"));
  const std::string old_pages = get_file(dir("1/pages-1.img"));
  ASSERT_TRUE(dedup(dir("2")).ok());
  std::filesystem::rename(dir("1/pagemap.img"), dir("1/.pagemap.img.new"));
  put_file(dir("1/pagemap.img"), old_map);
  put_file(dir("1/pages-1.img"), old_pages);
  Result<Image> image = Image::open(dir("2"), PageCheck::kVerify);
  ASSERT_TRUE(image.ok()) << image.error().text();
  Result<DedupReport> again = dedup(dir("2"));
  ASSERT_TRUE(again.ok()) << again.error().text();
  EXPECT_FALSE(std::filesystem::exists(dir("1/.pagemap.img.new")));
  EXPECT_EQ(get_file(dir("1/pages-1.img")).substr(0, kPage), std::string(kPage, '\0'));
  EXPECT_TRUE(Image::open(dir("2"), PageCheck::kVerify).ok());
}

TEST_F(Dedup, damage_of_what_is_kept_is_still_noticed) {
  ASSERT_TRUE(dedup(dir("2")).ok());
  std::string pages = get_file(dir("1/pages-1.img"));
  pages[2 * kPage] ^= 1;
  put_file(dir("1/pages-1.img"), pages);
  EXPECT_FALSE(Image::open(dir("2"), PageCheck::kVerify).ok());
}

}  // namespace
}  // namespace ncr
