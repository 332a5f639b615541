#include "engine/resources/namespaces/visitor.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

namespace ncr::namespaces {
namespace {

TEST(Visitor, does_one_thing_after_another_on_a_thread_that_is_not_the_callers) {
  std::set<pid_t> threads;
  Visitor visitor;
  for (int i = 0; i < 100; i++) {
    visitor.send([&] { threads.insert(::gettid()); });
    visitor.wait();
  }
  EXPECT_EQ(threads.size(), 1u);
  EXPECT_FALSE(threads.contains(::gettid()));
}

TEST(Visitor, who_lets_it_go_waits_for_what_it_was_sent_for) {
  for (int i = 0; i < 200; i++) {
    bool done = false;
    {
      Visitor visitor;
      visitor.send_beside([&] { done = true; });
    }
    EXPECT_TRUE(done);
  }
}

TEST(Visitor, one_that_was_never_sent_ends) { Visitor visitor; }

}  // namespace
}  // namespace ncr::namespaces
