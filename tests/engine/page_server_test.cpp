// Pages over loopback, from peers that are what they say and from others.
#include "engine/page_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>

#include "engine/image/image_reader.h"
#include "engine/memory/page_wire.h"
#include "engine/memory/server_output.h"
#include "tests/engine/image/sample_image.h"
#include "tests/support/checkpoint_test.h"

namespace ncr {
namespace {

using page_wire::Kind;
using page_wire::Peer;

uint16_t port_of(const Fd& socket) {
  sockaddr_in name{};
  socklen_t size = sizeof name;
  EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &size), 0);
  return ntohs(name.sin_port);
}

Fd connect_to(uint16_t port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  return socket;
}

// A server in a thread of its own.
class PageServer : public testing::Test {
 protected:
  PageServer() : listener_(MUST(listen_at("127.0.0.1", 0))), port_(port_of(listener_)) {
    thread_ = std::thread([this] {
      PageServerRequest request;
      request.images_dir = dir();
      request.socket = listener_.get();
      outcome_ = serve_pages(request);
    });
  }
  ~PageServer() override { finish(); }

  Result<PageServerReport>& finish() {
    if (thread_.joinable()) thread_.join();
    return *outcome_;
  }
  std::string dir() const { return scratch_.path() + "/pages"; }
  std::string pages() const { return get_file(dir() + "/pages-1.img"); }
  Peer peer() const { return Peer(connect_to(port_), {}); }
  Peer greeted() const {
    Peer peer = this->peer();
    EXPECT_TRUE(peer.send(Kind::kStore, page_wire::kVersion).ok());
    EXPECT_TRUE(peer.receive(Kind::kOk).ok());
    return peer;
  }
  void expect_failed(const std::string& expected) {
    Result<PageServerReport>& outcome = finish();
    ASSERT_FALSE(outcome.ok());
    EXPECT_NE(outcome.error().text().find(expected), std::string::npos) << outcome.error().text();
    EXPECT_FALSE(std::filesystem::exists(dir() + "/pages-1.img"));
  }

  ScratchDir scratch_;
  Fd listener_;
  uint16_t port_;
  std::thread thread_;
  std::optional<Result<PageServerReport>> outcome_;
};

TEST_F(PageServer, stores_what_it_is_sent_in_any_order) {
  Fd socket = connect_to(port_);
  Result<std::unique_ptr<PageOutput>> output = ServerOutput::open(socket.get());
  ASSERT_TRUE(output.ok()) << output.error().text();
  const std::string one(8192, 'a'), two((2 << 20), 'b');
  ASSERT_TRUE(output.value()->write(two.data(), two.size(), one.size()).ok());
  ASSERT_TRUE(output.value()->write(one.data(), one.size(), 0).ok());
  Result<> finished = output.value()->finish(one.size() + two.size());
  ASSERT_TRUE(finished.ok()) << finished.error().text();
  ASSERT_TRUE(finish().ok()) << finish().error().text();
  EXPECT_EQ(finish().value().bytes, one.size() + two.size());
  EXPECT_TRUE(pages() == one + two);
}

TEST_F(PageServer, strangers_are_sent_away_and_the_dump_still_served) {
  {
    const Fd stranger = connect_to(port_);
    EXPECT_GT(::send(stranger.get(), "GET / HTTP/1.1\r\nHost: a.long.name.example\r\n\r\n", 46, 0),
              0);
    Fd hangs_up = connect_to(port_);
  }
  Peer old = peer();
  ASSERT_TRUE(old.send(Kind::kStore, 99).ok());
  Result<page_wire::Message> answer = old.receive();
  ASSERT_FALSE(answer.ok());
  EXPECT_NE(answer.error().text().find("version 99"), std::string::npos);
  Peer peer = greeted();
  ASSERT_TRUE(peer.send(Kind::kDone, 0).ok());
  EXPECT_TRUE(peer.receive(Kind::kOk).ok());
  EXPECT_TRUE(finish().ok());
  EXPECT_EQ(pages(), "");
}

TEST_F(PageServer, nothing_stays_of_a_dump_that_hangs_up) {
  {
    Peer peer = greeted();
    const std::string page(4096, 'x');
    ASSERT_TRUE(peer.send(Kind::kPages, 0, page.data(), page.size()).ok());
  }
  expect_failed("the other end of the connection is gone");
}

TEST_F(PageServer, a_gap_is_noticed) {
  Peer peer = greeted();
  const std::string page(4096, 'x');
  ASSERT_TRUE(peer.send(Kind::kPages, 4096, page.data(), page.size()).ok());
  ASSERT_TRUE(peer.send(Kind::kDone, 4096).ok());
  Result<page_wire::Message> answer = peer.receive();
  ASSERT_FALSE(answer.ok());
  EXPECT_NE(answer.error().text().find("the other end says: "), std::string::npos);
  expect_failed("4096 bytes of pages came");
}

TEST_F(PageServer, impossible_places_are_refused) {
  Peer peer = greeted();
  const std::string page(4096, 'x');
  ASSERT_TRUE(peer.send(Kind::kPages, uint64_t{1} << 62, page.data(), page.size()).ok());
  EXPECT_FALSE(peer.receive().ok());
  expect_failed("pages that are none");
}

TEST_F(PageServer, damage_on_the_way_is_noticed) {
  Peer peer = greeted();
  Fd copy(::dup(peer.socket().get()));
  struct {
    uint32_t magic = 0x50524e89, kind = 5;
    uint64_t offset = 0;
    uint32_t size = 4096, reserved = 0;
    char checksum[16] = {};
    char page[4096] = {};
  } message;
  ASSERT_TRUE(sys::write_all(copy, &message, sizeof message).ok());
  expect_failed("its checksum does not fit");
}

TEST_F(PageServer, a_length_that_is_a_lie_takes_no_memory) {
  Peer peer = greeted();
  Fd copy(::dup(peer.socket().get()));
  struct {
    uint32_t magic = 0x50524e89, kind = 5;
    uint64_t offset = 0;
    uint32_t size = ~0u, reserved = 0;
    char checksum[16] = {};
  } message;
  ASSERT_TRUE(sys::write_all(copy, &message, sizeof message).ok());
  expect_failed("does not speak our protocol");
}

TEST_F(PageServer, a_dump_and_its_pages_are_put_together) {
  if (::geteuid() != 0) {
    Peer peer = greeted();
    (void)peer.send(Kind::kDone, 0).ok();
    GTEST_SKIP() << "needs root";
  }
  const pid_t target = ::fork();
  if (target == 0) {
    ::setsid();
    ::close_range(3, ~0u, 0);
    for (;;) ::pause();
  }
  Fd socket = connect_to(port_);
  DumpRequest request;
  request.pid = target;
  request.images_dir = scratch_.path() + "/dump";
  request.final_state = FinalState::kRun;
  request.page_server = socket.get();
  Result<DumpReport> first = dump(request);
  ::usleep(1000);
  ASSERT_TRUE(first.ok()) << first.error().text();
  ASSERT_TRUE(finish().ok()) << finish().error().text();
  EXPECT_EQ(finish().value().bytes, first.value().pages_written * 4096);
  EXPECT_FALSE(std::filesystem::exists(request.images_dir + "/pages-1.img"));
  // The next one is incremental to pages that are not here.
  request.parent_images = "../dump";
  request.images_dir = scratch_.path() + "/next";
  request.page_server = -1;
  Result<DumpReport> second = dump(request);
  ::kill(target, SIGKILL);
  ::waitpid(target, nullptr, 0);
  ASSERT_TRUE(second.ok()) << second.error().text();
  EXPECT_GT(second.value().pages_parent, first.value().pages_written / 2);
  std::filesystem::rename(dir() + "/pages-1.img", scratch_.path() + "/dump/pages-1.img");
  for (const char* name : {"/dump", "/next"}) {
    Result<Image> image = Image::open(scratch_.path() + name, PageCheck::kVerify);
    EXPECT_TRUE(image.ok()) << image.error().text();
  }
}

}  // namespace
}  // namespace ncr
