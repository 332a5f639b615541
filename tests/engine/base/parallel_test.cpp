#include "engine/base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace ncr {
namespace {

TEST(InParallel, calls_each_once) {
  for (size_t count : {0, 1, 7, 1000}) {
    std::vector<std::atomic<int>> calls(count);
    auto body = [&](size_t i) -> Result<> {
      calls[i]++;
      return {};
    };
    EXPECT_TRUE(in_parallel(count, 4, body).ok());
    for (size_t i = 0; i < count; i++) EXPECT_EQ(calls[i], 1) << i << " of " << count;
  }
}

TEST(InParallel, after_an_error_no_more_begin) {
  std::atomic<int> calls{0};
  auto body = [&](size_t i) -> Result<> {
    calls++;
    if (i == 3) return Error::usage("the fourth");
    return {};
  };
  Result<> done = in_parallel(1000, 1, body);
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().text(), "the fourth");
  EXPECT_EQ(calls, 4);
}

}  // namespace
}  // namespace ncr
