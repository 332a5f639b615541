#include "engine/resources/rlimit/rlimit.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/resource.h>

#include "engine/resources/credentials/own_capabilities.h"
#include "engine/resources/rlimit/rlimit.parasite.cpp"
#include "engine/resources/rlimit/rlimit.restorer.cpp"
#include "engine/resources/room.h"
#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/in_child.h"

namespace ncr::rlimit {

extern const TaskRoom kRoom;

namespace {

TEST(rlimit, a_hard_limit_that_cannot_be_raised_is_named_with_both_values) {
  EXPECT_EQ(testing::in_child([] {
              Result<uint64_t> capabilities = credentials::own_effective_capabilities();
              if (!capabilities.ok() || (capabilities.value() >> CAP_SYS_RESOURCE & 1) != 0)
                return 0;
              const ::rlimit low{33, 44};
              if (setrlimit(RLIMIT_NOFILE, &low) != 0) return 1;
              schema::Task record;
              schema::Rlimit* limit = record.add_rlimits();
              limit->set_resource(RLIMIT_NOFILE);
              limit->set_hard(45);
              const RestoreRequest request;
              Result<> answer = kRoom.restore({record, request});
              if (answer.ok() || answer.error().code() != ErrorCode::kUnsupported) return 2;
              const std::string& text = answer.error().text();
              return text.find("RLIMIT_NOFILE of 45, above the 44") != std::string::npos ? 0 : 3;
            }),
            0);
}

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

namespace ncr::test {
namespace {

CR_TEST(rlimit, soft_and_hard_limits_are_kept) {
  ::rlimit limits[RLIM_NLIMITS];
  const ::rlimit files{100, 200};
  const ::rlimit stack{4 << 20, RLIM_INFINITY};
  const ::rlimit core{0, 0};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  ASSERT_EQ(setrlimit(RLIMIT_STACK, &stack), 0);
  ASSERT_EQ(setrlimit(RLIMIT_CORE, &core), 0);
  for (unsigned resource = 0; resource < RLIM_NLIMITS; resource++)
    ASSERT_EQ(getrlimit(static_cast<__rlimit_resource>(resource), &limits[resource]), 0);
  checkpoint_restore();
  for (unsigned resource = 0; resource < RLIM_NLIMITS; resource++) {
    ::rlimit now{};
    ASSERT_EQ(getrlimit(static_cast<__rlimit_resource>(resource), &now), 0);
    EXPECT_EQ(now.rlim_cur, limits[resource].rlim_cur) << resource;
    EXPECT_EQ(now.rlim_max, limits[resource].rlim_max) << resource;
  }
}

}  // namespace
}  // namespace ncr::test
