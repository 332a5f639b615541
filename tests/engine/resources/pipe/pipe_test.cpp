#include "engine/resources/pipe/pipe.h"

#include <poll.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr {
namespace {

struct Ends {
  explicit Ends(int flags = 0) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC | flags), 0);
    read = Fd(ends[0]);
    write = Fd(ends[1]);
  }
  Fd read;
  Fd write;
};

std::string read_some(int fd, size_t size = 65536) {
  std::string text(size, '\0');
  ssize_t got = ::read(fd, text.data(), text.size());
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return text;
}

TEST(Pipe, keeps_bytes_capacity_and_flags_and_takes_nothing_out) {
  Ends ends;
  ASSERT_EQ(::fcntl(ends.write.get(), F_SETPIPE_SZ, 8192), 8192);
  ASSERT_EQ(::fcntl(ends.read.get(), F_SETFL, O_NONBLOCK), 0);
  ASSERT_EQ(::write(ends.write.get(), "in flight", 9), 9);
  Reopening trip;
  uint32_t read = trip.dump(ends.read.get());
  uint32_t write = trip.dump(ends.write.get());
  EXPECT_EQ(read_some(ends.read.get()), "in flight") << "the dump took nothing out";
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_EQ(read_some(trip.opened(read)), "in flight");
  EXPECT_EQ(::fcntl(trip.opened(write), F_GETPIPE_SZ), 8192);
  EXPECT_EQ(::fcntl(trip.opened(read), F_GETFL), O_RDONLY | O_NONBLOCK);
  EXPECT_EQ(::fcntl(trip.opened(write), F_GETFL), O_WRONLY);
  ASSERT_EQ(::write(trip.opened(write), "more", 4), 4);
  EXPECT_EQ(read_some(trip.opened(read)), "more") << "both ends are of one pipe";
}

// As the log pipe of a container, whose reader goes on.
TEST(Pipe, is_dumped_while_somebody_outside_reads_and_writes) {
  Ends ends(O_NONBLOCK);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) {
      (void)!::write(ends.write.get(), "some bytes", 10);
      (void)read_some(ends.read.get());
    }
  });
  for (int i = 0; i < 2000; i++) {
    schema::PipeContent content;
    Result<> dumped = pipe::dump_content(ends.read, &content);
    EXPECT_TRUE(dumped.ok()) << dumped.error().text();
    for (const schema::PipeChunk& chunk : content.chunks()) EXPECT_EQ(chunk.data(), "some bytes");
    if (HasFailure()) break;
  }
  stop = true;
  busy.join();
}

TEST(Pipe, keeps_a_full_pipe) {
  Ends ends(O_NONBLOCK);
  std::string block(4096, 'x');
  while (::write(ends.write.get(), block.data(), block.size()) > 0) block[0]++;
  Reopening trip;
  uint32_t read = trip.dump(ends.read.get());
  (void)trip.dump(ends.write.get());
  std::string before = read_some(ends.read.get());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_EQ(read_some(trip.opened(read)), before);
}

TEST(Pipe, keeps_the_borders_of_packets) {
  for (int packets : {1, 3}) {
    Ends ends(O_DIRECT);
    for (int i = 0; i < packets; i++) ASSERT_EQ(::write(ends.write.get(), "packet", 6), 6);
    Reopening trip;
    uint32_t read = trip.dump(ends.read.get());
    uint32_t write = trip.dump(ends.write.get());
    Result<> restored = trip.restore();
    ASSERT_TRUE(restored.ok()) << restored.error().text();
    EXPECT_EQ(::fcntl(trip.opened(write), F_GETFL) & O_DIRECT, O_DIRECT);
    ::fcntl(trip.opened(read), F_SETFL, O_NONBLOCK);
    for (int i = 0; i < packets; i++)
      EXPECT_EQ(read_some(trip.opened(read), 3), "pac") << "a short read drops the rest";
    EXPECT_EQ(read_some(trip.opened(read)), "");
  }
}

TEST(Pipe, a_stream_of_one_byte_and_a_stream_of_many_are_no_packets) {
  Ends ends;
  ASSERT_EQ(::write(ends.write.get(), "abcdef", 6), 6);
  Reopening trip;
  uint32_t read = trip.dump(ends.read.get());
  (void)trip.dump(ends.write.get());
  ASSERT_TRUE(trip.restore().ok());
  EXPECT_EQ(read_some(trip.opened(read), 3), "abc");
  EXPECT_EQ(read_some(trip.opened(read), 3), "def");
}

TEST(Pipe, keeps_an_end_whose_other_end_nobody_has) {
  Ends ends;
  ASSERT_EQ(::write(ends.write.get(), "last words", 10), 10);
  ends.write = Fd();
  Reopening trip;
  uint32_t read = trip.dump(ends.read.get());
  EXPECT_FALSE(trip.record(read).pipe().has_writer());
  EXPECT_TRUE(pipe::cut_off({&trip.record(read)}).empty());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_EQ(read_some(trip.opened(read)), "last words");
  EXPECT_EQ(read_some(trip.opened(read)), "") << "end of file, as before";
}

TEST(Pipe, keeps_a_second_description_of_an_end) {
  Ends ends;
  Fd again =
      value_of(sys::open(strf("/proc/self/fd/%d", ends.read.get()).c_str(), O_RDONLY | O_NONBLOCK));
  Reopening trip;
  uint32_t read = trip.dump(ends.read.get());
  uint32_t second = trip.dump(again.get());
  uint32_t write = trip.dump(ends.write.get());
  EXPECT_NE(read, second);
  EXPECT_EQ(trip.record(read).group_id(), trip.record(second).group_id());
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  ASSERT_EQ(::write(trip.opened(write), "x", 1), 1);
  EXPECT_EQ(read_some(trip.opened(second)), "x");
  EXPECT_EQ(::fcntl(trip.opened(second), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  EXPECT_EQ(::fcntl(trip.opened(read), F_GETFL), O_RDONLY);
}

TEST(Pipe, refuses_to_restore_an_end_whose_other_end_was_outside) {
  Ends ends;
  Reopening trip;
  uint32_t write = trip.dump(ends.write.get());
  EXPECT_EQ(pipe::cut_off({&trip.record(write)}), std::vector<uint32_t>{write});
  Result<> restored = trip.restore();
  ASSERT_FALSE(restored.ok());
  EXPECT_EQ(restored.error().code(), ErrorCode::kUnsupported);
}

TEST(Pipe, takes_a_descriptor_of_the_caller_for_an_end_that_led_outside) {
  Ends ends;
  Ends given;
  Reopening trip;
  uint32_t write = trip.dump(ends.write.get());
  RestoreRequest request;
  request.inherited.push_back({trip.record(write).path(), given.write.get()});
  Result<> restored = trip.restore(request);
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  ASSERT_EQ(::write(trip.opened(write), "out", 3), 3);
  EXPECT_EQ(read_some(given.read.get()), "out");
}

TEST(Pipe, an_end_that_leads_outside_is_a_blocker_unless_it_is_standard_input_or_output) {
  schema::OpenFile end;
  end.set_id(1);
  end.set_flags(O_WRONLY);
  end.set_group_id(5);
  end.mutable_pipe()->set_has_reader(true);
  end.mutable_pipe()->set_has_writer(true);
  Task task;
  task.pid = 9;
  const FdRoom* room = fd_room_of(schema::OpenFile::kPipe);
  Blockers none;
  ASSERT_TRUE(room->check({{&end, &task, FdNumber{1}}, {&end, &task, FdNumber{7}}}, {}, none).ok());
  EXPECT_TRUE(none.empty());
  schema::OpenFile once_more = end;  // as a program does that opens /dev/stdout
  once_more.set_id(2);
  ASSERT_TRUE(
      room->check({{&end, &task, FdNumber{1}}, {&once_more, &task, FdNumber{7}}}, {}, none).ok());
  EXPECT_TRUE(none.empty());
  Blockers one;
  ASSERT_TRUE(room->check({{&end, &task, FdNumber{7}}}, {}, one).ok());
  EXPECT_EQ(one.list().size(), 1u);
}

CR_TEST(pipe, bytes_in_flight_arrive_once_and_in_order) {
  Ends ends;
  ASSERT_EQ(::write(ends.write.get(), "first ", 6), 6);
  checkpoint_restore();
  ASSERT_EQ(::write(ends.write.get(), "second", 6), 6);
  EXPECT_EQ(read_some(ends.read.get()), "first second");
}

CR_TEST(pipe, a_child_that_waits_for_input_gets_it) {
  Ends down;
  Ends up;
  pid_t child = test::fork_child([&] {
    down.write = Fd();
    std::string text = read_some(down.read.get());
    MUST(sys::write_all(up.write, text.data(), text.size()));
    EXPECT_EQ(read_some(down.read.get()), "") << "end of file, once the parent closed its end";
  });
  checkpoint_restore();
  ASSERT_EQ(::write(down.write.get(), "hello", 5), 5);
  EXPECT_EQ(read_some(up.read.get()), "hello");
  down.write = Fd();
  int status = 0;
  EXPECT_TRUE(test::wait_exit(child, &status, std::chrono::seconds(10)));
  EXPECT_EQ(status, 0);
}

CR_TEST(pipe, a_full_pipe_stays_full) {
  Ends ends(O_NONBLOCK);
  std::string block(4096, 'x');
  size_t written = 0;
  for (ssize_t put = 0; (put = ::write(ends.write.get(), block.data(), block.size())) > 0;)
    written += static_cast<size_t>(put);
  checkpoint_restore();
  EXPECT_EQ(::write(ends.write.get(), "x", 1), -1);
  size_t taken = 0;
  while (size_t got = read_some(ends.read.get()).size()) taken += got;
  EXPECT_EQ(taken, written);
}

CR_TEST(pipe, nobody_is_left_at_the_other_end) {
  Ends ends;
  ends.read = Fd();
  ::signal(SIGPIPE, SIG_IGN);
  checkpoint_restore();
  EXPECT_EQ(::write(ends.write.get(), "x", 1), -1) << "as before";
}

}  // namespace
}  // namespace ncr
