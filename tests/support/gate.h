// For tests with several processes: children that wait until the tree was restored, and check
// themselves.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

namespace ncr::test {

// A pipe on which children wait until the tree was restored, and on which they say that they are
// ready.
class Gate {
 public:
  Gate() {
    EXPECT_EQ(::pipe(go_), 0);
    EXPECT_EQ(::pipe(ready_), 0);
  }
  void say_ready() const { EXPECT_EQ(::write(ready_[1], "r", 1), 1); }
  // In a child, or in one of its threads.
  void pass() const {
    char byte = 0;
    say_ready();
    EXPECT_EQ(::read(go_[0], &byte, 1), 1);
  }
  void wait_ready(int count) const {
    char byte = 0;
    for (; count > 0; count--) EXPECT_EQ(::read(ready_[0], &byte, 1), 1);
  }
  void open(int count) const {
    for (; count > 0; count--) EXPECT_EQ(::write(go_[1], "g", 1), 1);
  }

 private:
  int go_[2];
  int ready_[2];
};

[[noreturn]] inline void leave() { ::_exit(::testing::Test::HasFailure() ? 1 : 0); }

inline pid_t fork_with(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    leave();
  }
  return child;
}

inline void expect_success(pid_t child) {
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

inline std::string link_of(const std::string& path) {
  char target[256] = {};
  EXPECT_GT(::readlink(path.c_str(), target, sizeof target - 1), 0) << path;
  return target;
}

}  // namespace ncr::test
