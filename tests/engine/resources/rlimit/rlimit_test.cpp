#include "engine/resources/rlimit/rlimit.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "engine/resources/rlimit/rlimit.parasite.cpp"
#include "engine/resources/rlimit/rlimit.restorer.cpp"
#include "tests/engine/resources/in_child.h"

namespace ncr::rlimit {
namespace {

TEST(rlimit, sets_only_what_is_wanted) {
  EXPECT_EQ(testing::in_child([] {
              Set step{};
              step.wanted = 1ull << RLIMIT_CORE | 1ull << RLIMIT_NOFILE;
              step.limits[RLIMIT_CORE] = {0, 0};
              step.limits[RLIMIT_NOFILE] = {33, 44};
              Get::Reply before;
              Get::Reply after;
              if (!handle({}, before).ok() || !run(step).ok() || !handle({}, after).ok()) return 1;
              if (after.limits[RLIMIT_NOFILE].soft != 33 ||
                  after.limits[RLIMIT_NOFILE].hard != 44 || after.limits[RLIMIT_CORE].hard != 0)
                return 2;
              return before.limits[RLIMIT_STACK].soft == after.limits[RLIMIT_STACK].soft ? 0 : 3;
            }),
            0);
}

}  // namespace
}  // namespace ncr::rlimit
