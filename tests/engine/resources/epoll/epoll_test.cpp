#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cstring>

#include "engine/resources/fdinfo.h"
#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"

namespace ncr {
namespace {

void add(int epoll, int fd, uint32_t events, uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  ASSERT_EQ(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
}

std::vector<EpollTarget> targets_of(int epoll) {
  return value_of(
      parse_epoll(value_of(sys::read_file(strf("/proc/self/fdinfo/%d", epoll).c_str()))));
}

TEST(Epoll, keeps_each_target_under_its_number_with_events_and_data) {
  Reopening trip;
  Fd event(::eventfd(1, EFD_CLOEXEC));
  uint32_t event_id = trip.dump(event.get());
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  add(epoll.get(), event.get(), EPOLLIN | EPOLLET, 0x1234567890abcdef);
  uint32_t id = trip.dump(epoll.get());
  ASSERT_EQ(trip.record(id).epoll().targets_size(), 1);
  EXPECT_EQ(trip.record(id).epoll().targets(0).file_id(), event_id);
  EXPECT_EQ(trip.record(id).depends_on(0), event_id);
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  std::vector<EpollTarget> targets = targets_of(trip.opened(id));
  ASSERT_EQ(targets.size(), 1u);
  EXPECT_EQ(targets[0].number, event.get());
  EXPECT_EQ(targets[0].events, EPOLLIN | EPOLLET | EPOLLERR | EPOLLHUP);
  epoll_event ready{};
  ASSERT_EQ(::epoll_wait(trip.opened(id), &ready, 1, 0), 1);
  EXPECT_EQ(ready.data.u64, 0x1234567890abcdefu);
}

TEST(Epoll, finds_a_target_whose_number_is_something_else_by_now) {
  Reopening trip;
  Fd event(::eventfd(0, EFD_CLOEXEC));
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  int number = ::fcntl(event.get(), F_DUPFD_CLOEXEC, 100);
  add(epoll.get(), number, EPOLLIN, 1);
  Fd other(::eventfd(0, EFD_CLOEXEC));
  ASSERT_EQ(::dup3(other.get(), number, O_CLOEXEC), number);
  uint32_t other_id = trip.dump(other.get());
  uint32_t event_id = trip.dump(event.get());
  uint32_t id = trip.dump(epoll.get());
  EXPECT_NE(other_id, event_id);
  EXPECT_EQ(trip.record(id).epoll().targets(0).file_id(), event_id);
  EXPECT_EQ(trip.record(id).epoll().targets(0).number(), number);
  ::close(number);
}

TEST(Epoll, keeps_two_files_registered_under_one_number) {
  Reopening trip;
  Fd first(::eventfd(0, EFD_CLOEXEC));
  Fd second(::eventfd(0, EFD_CLOEXEC));
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  int number = ::fcntl(first.get(), F_DUPFD_CLOEXEC, 100);
  add(epoll.get(), number, EPOLLIN, 1);
  ASSERT_EQ(::dup3(second.get(), number, O_CLOEXEC), number);
  add(epoll.get(), number, EPOLLIN, 2);
  ::close(number);
  uint32_t first_id = trip.dump(first.get());
  uint32_t second_id = trip.dump(second.get());
  uint32_t id = trip.dump(epoll.get());
  const schema::Epoll& record = trip.record(id).epoll();
  ASSERT_EQ(record.targets_size(), 2);
  for (const schema::EpollTarget& target : record.targets())
    EXPECT_EQ(target.file_id(), target.data() == 1 ? first_id : second_id);
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_EQ(targets_of(trip.opened(id)).size(), 2u);
}

TEST(Epoll, a_disarmed_oneshot_target_does_not_fire_again) {
  Reopening trip;
  Fd event(::eventfd(1, EFD_CLOEXEC));
  uint32_t event_id = trip.dump(event.get());
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  add(epoll.get(), event.get(), EPOLLIN | EPOLLONESHOT, 1);
  epoll_event ready{};
  ASSERT_EQ(::epoll_wait(epoll.get(), &ready, 1, 0), 1);
  uint32_t id = trip.dump(epoll.get());
  ASSERT_TRUE(trip.restore().ok());
  EXPECT_NE(event_id, id);
  EXPECT_EQ(::epoll_wait(trip.opened(id), &ready, 1, 0), 0);
}

TEST(Epoll, refuses_a_target_that_only_a_stranger_holds) {
  Reopening trip;
  Fd event(::eventfd(0, EFD_CLOEXEC));
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  add(epoll.get(), event.get(), EPOLLIN, 1);
  Result<uint32_t> id = trip.table().add_local(Fd(::fcntl(epoll.get(), F_DUPFD_CLOEXEC, 0)));
  ASSERT_FALSE(id.ok());
  EXPECT_EQ(id.error().code(), ErrorCode::kUnsupported);
}

struct Parcel {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  char byte = 0;
  iovec part{&byte, 1};
  msghdr message{};

  Parcel() {
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
  }
};

void send_descriptor(int socket, int fd) {
  Parcel parcel;
  cmsghdr* header = CMSG_FIRSTHDR(&parcel.message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  ASSERT_EQ(::sendmsg(socket, &parcel.message, 0), 1);
}

int receive_descriptor(int socket) {
  Parcel parcel;
  if (::recvmsg(socket, &parcel.message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != 1) return -1;
  const cmsghdr* header = CMSG_FIRSTHDR(&parcel.message);
  int fd = -1;
  if (header != nullptr) memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return fd;
}

CR_TEST(epoll, goes_on_reporting_and_takes_changes) {
  Fd event(MUST(SYSCALL(::eventfd(0, EFD_CLOEXEC), "eventfd")));
  Fd epoll(MUST(SYSCALL(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")));
  add(epoll.get(), event.get(), EPOLLIN, 42);
  checkpoint_restore();
  uint64_t one = 1;
  MUST(sys::write_all(event, &one, sizeof one));
  epoll_event ready{};
  ASSERT_EQ(::epoll_wait(epoll.get(), &ready, 1, 0), 1);
  EXPECT_EQ(ready.data.u64, 42u);
  ready.events = EPOLLOUT;
  EXPECT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_MOD, event.get(), &ready), 0)
      << "known under its number";
  EXPECT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_DEL, event.get(), nullptr), 0);
}

CR_TEST(epoll, a_target_may_be_registered_under_any_number) {
  Fd epoll(MUST(SYSCALL(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")));
  Fd event(MUST(SYSCALL(::eventfd(1, EFD_CLOEXEC), "eventfd")));
  for (int number = 10; number < 60; number++) {
    Fd registered(MUST(SYSCALL(::dup2(event.get(), number), "dup2")));
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    wanted.data.fd = number;
    ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, number, &wanted), 0);
  }
  checkpoint_restore();
  epoll_event ready[64];
  EXPECT_EQ(::epoll_wait(epoll.get(), ready, 64, 0), 50);
}

CR_TEST(epoll, one_on_its_way_through_its_own_target_arrives) {
  int ends[2] = {-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
  Fd sender(ends[0]), receiver(ends[1]);
  {
    Fd epoll(MUST(SYSCALL(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")));
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, receiver.get(), &wanted), 0);
    for (int i = 0; i < 2; i++) send_descriptor(sender.get(), epoll.get());
  }
  checkpoint_restore();
  Fd epoll(receive_descriptor(receiver.get()));
  epoll_event ready{};
  EXPECT_EQ(::epoll_wait(epoll.get(), &ready, 1, 0), 1) << "the second message waits";
}

CR_TEST(epoll, one_may_watch_another) {
  Fd event(MUST(SYSCALL(::eventfd(0, EFD_CLOEXEC), "eventfd")));
  Fd inner(MUST(SYSCALL(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")));
  Fd outer(MUST(SYSCALL(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")));
  add(inner.get(), event.get(), EPOLLIN, 1);
  add(outer.get(), inner.get(), EPOLLIN, 2);
  checkpoint_restore();
  uint64_t one = 1;
  MUST(sys::write_all(event, &one, sizeof one));
  epoll_event ready{};
  ASSERT_EQ(::epoll_wait(outer.get(), &ready, 1, 0), 1);
  EXPECT_EQ(ready.data.u64, 2u);
}

CR_TEST(epoll, many_targets_of_many_kinds_keep_their_data) {
  Fd epoll(MUST(SYSCALL(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")));
  std::vector<Fd> events;
  for (uint64_t i = 0; i < 50; i++) {
    events.emplace_back(MUST(SYSCALL(::eventfd(0, EFD_CLOEXEC), "eventfd")));
    add(epoll.get(), events.back().get(), EPOLLIN | EPOLLET, i);
  }
  checkpoint_restore();
  for (uint64_t i = 0; i < 50; i++) {
    uint64_t one = 1;
    MUST(sys::write_all(events[i], &one, sizeof one));
    epoll_event ready{};
    ASSERT_EQ(::epoll_wait(epoll.get(), &ready, 1, 0), 1);
    EXPECT_EQ(ready.data.u64, i);
  }
}

}  // namespace
}  // namespace ncr
