#include "engine/base/deleted_mark.h"

#include <gtest/gtest.h>

namespace ncr {
namespace {

TEST(deleted_mark, is_taken_off) {
  std::string path = "/a/b (deleted)";
  EXPECT_TRUE(drop_deleted_mark(&path));
  EXPECT_EQ(path, "/a/b");
  EXPECT_FALSE(drop_deleted_mark(&path));
  EXPECT_EQ(path, "/a/b");
}

TEST(deleted_mark, of_a_file_that_is_called_like_that_leaves_its_name) {
  std::string_view path = "/a/x (deleted) (deleted)";
  EXPECT_TRUE(drop_deleted_mark(&path));
  EXPECT_EQ(path, "/a/x (deleted)");
}

TEST(deleted_mark, stands_at_the_end_only) {
  for (std::string_view path : {"", "/", "/a (deleted)/b", "/a(deleted)", "(deleted)"}) {
    std::string_view rest = path;
    EXPECT_FALSE(drop_deleted_mark(&rest)) << path;
    EXPECT_EQ(rest, path);
  }
}

}  // namespace
}  // namespace ncr
