#include "engine/resources/aio_ring/aio_ring.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <thread>
#include <vector>

#include "engine/resources/aio_ring/aio_ring.parasite.cpp"
#include "engine/resources/aio_ring/aio_ring.restorer.cpp"
#include "engine/resources/aio_ring/aio_settle.h"
#include "engine/resources/room.h"
#include "tests/engine/resources/in_child.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr::aio_ring {
extern const TaskRoom kRoom;

namespace {

aio_context_t set_up(unsigned requests) {
  aio_context_t context = 0;
  return ::syscall(SYS_io_setup, requests, &context) == 0 ? context : 0;
}

Header* header(aio_context_t context) { return reinterpret_cast<Header*>(context); }

TEST(aio_ring, every_size_of_ring_can_be_asked_for) {
  const uint32_t smallest = smallest_ring(MUST(sys::read_file("/sys/devices/system/cpu/possible")));
  for (uint32_t pages : {smallest, smallest + 1, smallest + 2, smallest + 17}) {
    aio_context_t context = set_up(requests_for(pages));
    ASSERT_NE(context, 0u);
    EXPECT_EQ(header(context)->nr, events_in(pages));
    EXPECT_EQ(header(context)->magic, kMagic);
    ::syscall(SYS_io_destroy, context);
  }
}

TEST(aio_ring, the_smallest_follows_from_the_cpus_of_the_machine) {
  EXPECT_EQ(smallest_ring("0\n"), 1u);
  EXPECT_EQ(smallest_ring("0-1\n"), 1u);
  EXPECT_EQ(smallest_ring("0-14\n"), 1u);
  EXPECT_EQ(smallest_ring("0-15\n"), 2u);
  EXPECT_EQ(smallest_ring("0,2-63\n"), 5u);
}

constexpr uint64_t kFree = 0x200000000000;

TEST(aio_ring, is_made_at_its_place_and_in_its_state) {
  const uint32_t pages = smallest_ring(MUST(sys::read_file("/sys/devices/system/cpu/possible")));
  const uint32_t nr = events_in(pages);
  testing::WithTail<Make, Event[5]> step{{{kFree, pages, PROT_READ | PROT_WRITE, 0, 0}, nr - 3, 2},
                                         {}};
  for (uint64_t i = 0; i < 5; i++) step.tail[i].data = i + 1;
  EXPECT_EQ(testing::in_child([&] {
              if (!run(step.step).ok()) return 1;
              static Probe::Request question{.count = 2, .pad = 0, .addresses = {kFree, kFree + 1}};
              static Probe::Reply answer;
              if (!handle(question, answer).ok()) return 2;
              if (answer.answers[0] != 1 || answer.answers[1] != 0) return 3;
              io_event events[8] = {};
              if (::syscall(SYS_io_getevents, kFree, 0, 8, events, nullptr) != 5) return 4;
              for (unsigned i = 0; i < 5; i++)
                if (events[i].data != i + 1) return 5;
              return 0;
            }),
            0);
}

TEST(aio_ring, a_place_that_is_taken_is_not_overwritten) {
  EXPECT_EQ(testing::in_child([&] {
              void* at = reinterpret_cast<void*>(kFree);
              ::mmap(at, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
              return run(Make{{kFree, 1, PROT_READ, 0, 0}, 0, 0}).err() == EEXIST ? 0 : 1;
            }),
            0);
}

schema::Task task_with_ring(uint64_t end) {
  schema::Task task;
  schema::Vma* vma = task.mutable_memory()->add_vmas();
  vma->set_start(kFree);
  vma->set_end(end);
  vma->set_kind(schema::VMA_AIO);
  task.add_aio_rings()->set_address(kFree);
  return task;
}

bool is_refused(const schema::Task& task) {
  StepList steps;
  Result<> planned = kRoom.plan(task, steps);
  return !planned.ok() && planned.error().code() == ErrorCode::kMalformed;
}

TEST(aio_ring, what_is_not_possible_is_refused) {
  schema::Task task = task_with_ring(kFree + kPage);
  EXPECT_FALSE(is_refused(task));
  schema::AioRing& ring = *task.mutable_aio_rings(0);
  ring.set_head(126);
  EXPECT_TRUE(is_refused(task)) << "one event is missing";
  ring.set_events(std::string(sizeof(Event), 'x'));
  EXPECT_FALSE(is_refused(task));
  ring.set_head(127);
  EXPECT_TRUE(is_refused(task));
  ring.set_head(0);
  ring.set_tail(128);
  EXPECT_TRUE(is_refused(task));
  EXPECT_TRUE(is_refused(task_with_ring(kFree)));
  EXPECT_TRUE(is_refused(task_with_ring(kFree + (uint64_t{1} << 40))));
  ring.set_left_behind(true);
  EXPECT_TRUE(is_refused(task)) << "no header";
  ring.set_header(std::string(sizeof(Header), 'x'));
  EXPECT_FALSE(is_refused(task));
  task.mutable_memory()->mutable_vmas(0)->set_kind(schema::VMA_ANONYMOUS);
  EXPECT_TRUE(is_refused(task)) << "no mapping";
  task.clear_aio_rings();
  EXPECT_FALSE(is_refused(task));
  task.mutable_memory()->mutable_vmas(0)->set_kind(schema::VMA_AIO);
  EXPECT_TRUE(is_refused(task)) << "no ring";
}

}  // namespace
}  // namespace ncr::aio_ring

namespace ncr::test {
namespace {

using aio_ring::header;
using aio_ring::set_up;

// Reads of nothing, which are completed at once. How many of `count` the kernel took.
long submit(aio_context_t context, int fd, uint64_t first, long count,
            uint16_t operation = IOCB_CMD_PREAD) {
  for (long i = 0; i < count; i++) {
    iocb request{};
    request.aio_data = first + static_cast<uint64_t>(i);
    request.aio_lio_opcode = operation;
    request.aio_fildes = static_cast<uint32_t>(fd);
    iocb* requests[] = {&request};
    if (::syscall(SYS_io_submit, context, 1, requests) != 1) return i;
  }
  return count;
}

// How many come, if they are those from `first` on.
long take(aio_context_t context, uint64_t first, long most) {
  std::vector<io_event> events(static_cast<size_t>(most));
  timespec at_once{0, 0};
  const long got = ::syscall(SYS_io_getevents, context, 0, most, events.data(), &at_once);
  for (long i = 0; i < got; i++)
    if (events[static_cast<size_t>(i)].data != first + static_cast<uint64_t>(i)) return -i - 1;
  return got;
}

Fd some_file() { return Fd(MUST(SYSCALL(::memfd_create("aio", MFD_CLOEXEC), "memfd_create"))); }

CR_TEST(aio_ring, unread_events_arrive_and_the_context_goes_on) {
  Fd file = some_file();
  aio_context_t small = set_up(8), large = set_up(300);
  const long nr = header(small)->nr;
  // The unread ones reach over the end of the ring.
  ASSERT_EQ(submit(small, file.get(), 0, nr - 10), nr - 10);
  ASSERT_EQ(take(small, 0, nr - 10), nr - 10);
  ASSERT_EQ(submit(small, file.get(), 1000, 30), 30);
  ASSERT_EQ(take(small, 1000, 5), 5);
  ASSERT_EQ(submit(large, file.get(), 7, 250), 250);
  const unsigned tail = header(small)->tail;
  checkpoint_restore();
  EXPECT_EQ(header(small)->tail, tail);
  EXPECT_EQ(take(small, 1005, 100), 25);
  EXPECT_EQ(take(large, 7, 300), 250);
  for (uint64_t round = 0; round < 8; round++) {
    EXPECT_EQ(submit(small, file.get(), round, 50), 50);
    EXPECT_EQ(submit(large, file.get(), round, 400), 400);
    EXPECT_EQ(take(small, round, 60), 50);
    EXPECT_EQ(take(large, round, 500), 400);
  }
  EXPECT_EQ(::syscall(SYS_io_destroy, small), 0);
  EXPECT_EQ(::syscall(SYS_io_destroy, large), 0);
}

CR_TEST(aio_ring, a_ring_full_of_events_arrives) {
  Fd file = some_file();
  aio_context_t context = set_up(1);
  const long fit = submit(context, file.get(), 0, 100000);
  ASSERT_GT(fit, 0);
  checkpoint_restore();
  EXPECT_EQ(take(context, 0, 100000), fit);
  EXPECT_EQ(submit(context, file.get(), 5, 1), 1);
  EXPECT_EQ(take(context, 5, 2), 1);
}

CR_TEST(aio_ring, requests_under_way_are_waited_for) {
  Fd file = some_file();
  aio_context_t context = set_up(64);
  ASSERT_EQ(submit(context, file.get(), 0, 60, IOCB_CMD_FSYNC), 60);
  checkpoint_restore();
  std::vector<io_event> events(100);
  EXPECT_EQ(::syscall(SYS_io_getevents, context, 60, 100, events.data(), nullptr), 60);
}

CR_TEST(aio_ring, a_waiting_thread_gets_its_event) {
  Fd file = some_file();
  aio_context_t context = set_up(8);
  std::atomic<long> got{-1};
  std::atomic<bool> there{false};
  std::thread waiter([&] {
    io_event event{};
    there = true;
    long taken = -1;
    // The kernel ends this call with EINTR whenever a thread is stopped.
    while (taken < 0) taken = ::syscall(SYS_io_getevents, context, 1, 1, &event, nullptr);
    got = static_cast<long>(event.data);
  });
  while (!there) std::this_thread::yield();
  checkpoint_restore();
  EXPECT_EQ(got, -1);
  EXPECT_EQ(submit(context, file.get(), 77, 1), 1);
  waiter.join();
  EXPECT_EQ(got, 77);
}

CR_TEST(aio_ring, a_child_of_fork_has_the_memory_and_no_context) {
  Fd file = some_file();
  aio_context_t context = set_up(8);
  ASSERT_EQ(submit(context, file.get(), 3, 2), 2);
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* go = new (page) std::atomic<int>{0};
  pid_t child = fork_child([&] {
    while (go->load() == 0) ::usleep(1000);
    EXPECT_EQ(submit(context, file.get(), 0, 1), 0);
    EXPECT_EQ(header(context)->magic, aio_ring::kMagic);
  });
  checkpoint_restore();
  *go = 1;
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << describe_exit(status);
  EXPECT_EQ(take(context, 3, 10), 2);
}

CR_TEST(aio_ring, protection_and_advice_are_kept) {
  aio_context_t context = set_up(8);
  void* ring = reinterpret_cast<void*>(context);
  ASSERT_EQ(::madvise(ring, 4096, MADV_DONTFORK), 0);
  ASSERT_EQ(::mprotect(ring, 4096, PROT_READ), 0);
  checkpoint_restore();
  const std::string maps = MUST(sys::read_file("/proc/self/smaps"));
  const size_t at = maps.find("/[aio]");
  ASSERT_NE(at, std::string::npos);
  const size_t line = maps.rfind('\n', at) + 1;
  EXPECT_NE(maps.substr(line, at - line).find(" r--s "), std::string::npos);
  const size_t flags = maps.find("VmFlags:", at);
  EXPECT_NE(maps.substr(flags, maps.find('\n', flags) - flags).find(" dc"), std::string::npos);
}

}  // namespace
}  // namespace ncr::test
