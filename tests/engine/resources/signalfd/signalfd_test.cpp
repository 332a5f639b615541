#include <sys/signalfd.h>

#include <csignal>

#include "engine/resources/fdinfo.h"
#include "tests/engine/resources/reopening.h"

namespace ncr {
namespace {

TEST(Signalfd, keeps_its_mask_up_to_the_last_real_time_signal) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGRTMAX);
  Fd fd(::signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC));
  Reopening trip;
  uint32_t id = trip.dump(fd.get());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  std::string fdinfo =
      value_of(sys::read_file(strf("/proc/self/fdinfo/%d", trip.opened(id)).c_str()));
  EXPECT_EQ(value_of(parse_signalfd_mask(fdinfo)),
            (1ull << (SIGTERM - 1)) | (1ull << (SIGRTMAX - 1)));
  EXPECT_EQ(::fcntl(trip.opened(id), F_GETFL), O_RDWR | O_NONBLOCK);
}

}  // namespace
}  // namespace ncr
