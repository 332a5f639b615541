#include <gtest/gtest.h>

#include "engine/tree/birth_register.h"

namespace ncr::pid_namespace {
namespace {

TEST(pid_namespace, births_are_seen_by_whoever_shares_the_register) {
  auto born = BirthRegister::create(2);
  ASSERT_TRUE(born.ok());
  EXPECT_EQ(born.value().outer(1), 0);
  born.value().set_inner(1, 7);
  born.value().set_outer(1, 4711);
  EXPECT_EQ(born.value().inner(1), 7);
  EXPECT_EQ(born.value().outer(1), 4711);
}

}  // namespace
}  // namespace ncr::pid_namespace
