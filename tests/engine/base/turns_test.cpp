#include "engine/base/turns.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace ncr {
namespace {

TEST(Turns, every_body_runs_once) {
  std::vector<int> ran(100, 0);
  take_turns(ran.size(), 7, [&](size_t i) { ran[i]++; });
  EXPECT_EQ(ran, std::vector<int>(100, 1));
}

TEST(Turns, none_is_fine) {
  take_turns(0, 4, [](size_t) { FAIL(); });
}

TEST(Turns, a_wait_is_the_turn_of_the_others) {
  std::string order;
  take_turns(3, 2, [&](size_t i) {
    Patience patience;
    order += static_cast<char>('a' + i);
    patience.wait();
    order += static_cast<char>('A' + i);
  });
  EXPECT_EQ(order, "abABcC");
}

TEST(Turns, one_waits_for_what_a_later_one_does) {
  bool done = false;
  take_turns(2, 2, [&](size_t i) {
    if (i == 1) done = true;
    for (Patience patience; !done;) patience.wait();
  });
  EXPECT_TRUE(done);
}

TEST(Turns, one_at_a_time_needs_no_stack_of_its_own) {
  std::vector<const void*> stacks;
  take_turns(2, 1, [&](size_t) {
    int here = 0;
    stacks.push_back(&here);
    Patience().wait();
  });
  EXPECT_EQ(stacks.size(), 2u);
  EXPECT_EQ(stacks[0], stacks[1]);
}

TEST(Turns, what_comes_between_is_on_the_stack_of_the_caller) {
  int here = 0;
  int between = 0;
  take_turns(
      40, 8, [](size_t) { Patience().wait(); },
      [&] {
        int there = 0;
        const auto distance = reinterpret_cast<char*>(&here) - reinterpret_cast<char*>(&there);
        EXPECT_LT(std::abs(distance), 64 << 10);
        between++;
      });
  EXPECT_GE(between, 5);
}

TEST(Turns, patience_grows_long_by_waiting) {
  Patience patience;
  EXPECT_FALSE(patience.is_long());
  for (int i = 0; i < 66; i++) patience.wait();
  EXPECT_TRUE(patience.is_long());
}

}  // namespace
}  // namespace ncr
