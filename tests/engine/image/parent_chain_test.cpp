// Images that are incremental to others, as an enemy or a careless hand may leave them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "engine/image/page_check.h"
#include "tests/engine/image/sample_image.h"

namespace ncr {
namespace {

constexpr uint64_t kPage = 4096;

class ParentChain : public testing::Test {
 protected:
  std::string dir(const std::string& name) const { return scratch_.path() + "/" + name; }

  static std::string uuid(char c) { return std::string(16, c); }

  // An image with the uuid `c`, whose heap lies in the pages of its parents from `heap` on.
  void write(const std::string& name, char c, const std::string& parent = "", char parents = 0,
             uint64_t heap = 0) {
    SampleImage sample;
    sample.inventory.set_uuid(uuid(c));
    if (!parent.empty()) {
      sample.inventory.set_parent(parent);
      sample.inventory.set_parent_uuid(uuid(parents));
      sample.page_maps[0].mutable_runs(0)->set_in_parent(heap);
    }
    for (char& byte : sample.pages) byte = static_cast<char>(byte - 'a' + c);
    Result<ImageDir> images = ImageDir::create(dir(name));
    ASSERT_TRUE(images.ok()) << images.error().text();
    if (!parent.empty()) {
      ASSERT_TRUE(images.value().link_parent(parent).ok());
    }
    write_sample(images.value(), sample);
  }

  void expect_refused(const std::string& name, const std::string& expected) {
    Result<Image> image = Image::open(dir(name), PageCheck::kVerify);
    ASSERT_FALSE(image.ok()) << expected;
    EXPECT_NE(image.error().text().find(expected), std::string::npos) << image.error().text();
  }

  ScratchDir scratch_;
};

TEST_F(ParentChain, a_page_is_found_in_any_of_the_ancestors) {
  write("1", 'A');
  write("2", 'M', "../1", 'A', 0);
  // The pages of the grandparent begin a page behind the ten of the parent.
  write("3", 'a', "../2", 'M', 11 * kPage + 3 * kPage);
  Result<Image> opened = Image::open(dir("3"), PageCheck::kVerify);
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  const Image image = opened.take();
  const schema::PageRun& run = image.task_pages.at(100).runs(0);
  ASSERT_TRUE(run.has_stored());
  char byte = 0;
  ASSERT_TRUE(image.pages.read(&byte, 1, run.stored()).ok());
  EXPECT_EQ(byte, 'D');
  ASSERT_TRUE(image.pages.read(&byte, 1, run.stored() + 3 * kPage).ok());
  EXPECT_EQ(byte, 'G');
  ASSERT_TRUE(image.pages.read(&byte, 1, image.task_pages.at(100).runs(1).stored()).ok());
  EXPECT_EQ(byte, 'e');
}

TEST_F(ParentChain, runs_stay_inside_one_file) {
  write("1", 'A');
  for (uint64_t outside :
       {7 * kPage, 10 * kPage, 11 * kPage, ~uint64_t{0} - kPage + 1, kPage / 2}) {
    std::filesystem::remove_all(dir("2"));
    write("2", 'M', "../1", 'A', outside);
    expect_refused("2", "they lie outside of the parent images");
  }
}

TEST_F(ParentChain, another_image_in_the_parents_place_is_noticed) {
  write("1", 'A');
  write("2", 'M', "../1", 'B');
  expect_refused("2", "parent image ../1: not the image that this one was made on");
}

TEST_F(ParentChain, a_missing_parent_is_named) {
  write("2", 'M', "../1", 'A');
  expect_refused("2", "parent image ../1");
}

TEST_F(ParentChain, an_image_is_not_its_own_ancestor) {
  write("1", 'A', "../2", 'B');
  write("2", 'B', "../1", 'A');
  expect_refused("2", "it is its own ancestor");
  write("3", 'C', "../3", 'C');
  expect_refused("3", "it is its own ancestor");
}

TEST_F(ParentChain, the_link_leads_where_the_parent_has_moved) {
  write("1", 'A');
  write("2", 'M', "../1", 'A');
  std::filesystem::rename(dir("1"), dir("moved"));
  expect_refused("2", "parent image ../1");
  std::filesystem::remove(dir("2/parent"));
  std::filesystem::create_symlink("../moved", dir("2/parent"));
  EXPECT_TRUE(Image::open(dir("2"), PageCheck::kVerify).ok());
  // Where links do not travel, the inventory knows the path.
  std::filesystem::remove(dir("2/parent"));
  std::filesystem::rename(dir("moved"), dir("1"));
  EXPECT_TRUE(Image::open(dir("2"), PageCheck::kVerify).ok());
}

TEST_F(ParentChain, damage_of_an_ancestor_is_noticed) {
  write("1", 'A');
  write("2", 'M', "../1", 'A');
  std::string pages = get_file(dir("1/pages-1.img"));
  pages[5 * kPage] ^= 1;
  put_file(dir("1/pages-1.img"), pages);
  expect_refused("2", "parent image ../1: pages-1.img: damaged");
}

TEST_F(ParentChain, a_parent_with_half_a_name_is_refused) {
  SampleImage sample;
  sample.inventory.set_parent_uuid(uuid('A'));
  Result<ImageDir> images = ImageDir::create(dir("1"));
  ASSERT_TRUE(images.ok());
  write_sample(images.value(), sample);
  expect_refused("1", "its parent");
}

TEST(dropped_pages, count_as_zeroes_and_are_listed) {
  schema::ChunkTable table;
  table.add_chunks()->set_size(3 * kPage);
  schema::Chunk* chunk = table.add_chunks();
  chunk->set_size(10 * kPage);
  chunk->set_dropped(std::string("\x06\x01", 2));
  EXPECT_EQ(dropped_pages(table, 100 * kPage), (RunSet{{104 * kPage, 2}, {111 * kPage, 1}}));
  std::string bytes(10 * kPage, 'x');
  clear_dropped(*chunk, bytes.data());
  EXPECT_EQ(bytes[0], 'x');
  EXPECT_EQ(bytes[kPage], 0);
  EXPECT_EQ(bytes[3 * kPage], 'x');
  EXPECT_EQ(bytes[9 * kPage - 1], 0);
}

}  // namespace
}  // namespace ncr
