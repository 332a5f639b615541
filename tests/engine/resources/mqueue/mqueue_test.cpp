#include <fcntl.h>
#include <mqueue.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

#include "engine/base/sys.h"
#include "tests/support/checkpoint_test.h"

namespace ncr {
namespace {

// The number of a process says nothing outside of its pid namespace.
std::string queue_name() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return strf("/nativecr-test-%d-%ld-%ld", ::getpid(), now.tv_sec, now.tv_nsec);
}

mqd_t make(const std::string& name, int flags) {
  mq_attr attributes{};
  attributes.mq_maxmsg = 4;
  attributes.mq_msgsize = 16;
  return ::mq_open(name.c_str(), flags | O_CREAT | O_EXCL, 0600, &attributes);
}

CR_TEST(mqueue, a_descriptor_keeps_its_queue_and_its_flags) {
  const std::string name = queue_name();
  mqd_t queue = make(name, O_WRONLY | O_NONBLOCK);
  ASSERT_GE(queue, 0);
  mqd_t reader = ::mq_open(name.c_str(), O_RDONLY);
  ASSERT_EQ(::mq_send(queue, "first", 6, 1), 0);
  checkpoint_restore();
  ASSERT_EQ(::mq_send(queue, "second", 7, 2), 0);
  char text[16] = {};
  EXPECT_EQ(::mq_receive(queue, text, sizeof text, nullptr), -1) << "only for writing";
  EXPECT_EQ(::mq_receive(reader, text, sizeof text, nullptr), 7);
  EXPECT_EQ(::mq_receive(reader, text, sizeof text, nullptr), 6);
  EXPECT_STREQ(text, "first");
  EXPECT_NE(::fcntl(queue, F_GETFL) & O_NONBLOCK, 0);
  ::mq_unlink(name.c_str());
}

CR_TEST_WITH(mqueue, one_with_a_waiting_notification_is_refused, .refused_with = "mq_notify") {
  const std::string name = queue_name();
  mqd_t queue = make(name, O_RDWR);
  ASSERT_GE(queue, 0);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR1;
  ASSERT_EQ(::mq_notify(queue, &event), 0);
  checkpoint_restore();
  ::mq_unlink(name.c_str());
}

CR_TEST_WITH(mqueue, one_without_a_name_is_refused, .refused_with = "mq_unlink") {
  const std::string name = queue_name();
  mqd_t queue = make(name, O_RDWR);
  ASSERT_GE(queue, 0);
  ::mq_unlink(name.c_str());
  checkpoint_restore();
}

}  // namespace
}  // namespace ncr
