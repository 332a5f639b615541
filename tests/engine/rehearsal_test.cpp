#include "engine/rehearsal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace ncr {
namespace {

TEST(rehearsal, a_process_that_is_not_there_is_no_matter) { rehearse(999'999'999); }

TEST(rehearsal, leaves_no_descriptor_and_no_trace) {
  auto count = [] {
    int open = 0;
    for (int fd = 0; fd < 1024; fd++) open += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return open;
  };
  const int before = count();
  rehearse(::getpid());
  EXPECT_EQ(count(), before);
}

}  // namespace
}  // namespace ncr
