#include <sys/signalfd.h>

#include <csignal>

#include "engine/resources/fdinfo.h"
#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"

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

CR_TEST(signalfd, reads_a_signal_that_waited_through_the_checkpoint) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR1);
  ASSERT_EQ(::sigprocmask(SIG_BLOCK, &mask, nullptr), 0);
  Fd fd(MUST(SYSCALL(::signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC), "signalfd")));
  ASSERT_EQ(::raise(SIGUSR1), 0);
  checkpoint_restore();
  signalfd_siginfo info{};
  ASSERT_EQ(::read(fd.get(), &info, sizeof info), static_cast<ssize_t>(sizeof info));
  EXPECT_EQ(info.ssi_signo, static_cast<uint32_t>(SIGUSR1));
}

}  // namespace
}  // namespace ncr
