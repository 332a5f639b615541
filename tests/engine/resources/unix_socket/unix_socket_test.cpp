#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <string>

#include "engine/resources/unix_socket/unix_names.h"
#include "engine/resources/unix_socket/unix_queue.h"
#include "tests/engine/resources/reopening.h"
#include "tests/engine/resources/round_trip.h"
#include "tests/support/checkpoint_test.h"

namespace ncr::unix_socket {
namespace {

using test::round_trip;

struct Pair {
  explicit Pair(int type) { EXPECT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, end), 0); }
  ~Pair() {
    ::close(end[0]);
    ::close(end[1]);
  }
  int end[2] = {-1, -1};
};

int make_bound(int type, const std::string& name) {
  int fd = ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  sockaddr_un address;
  socklen_t size = address_of(name, &address);
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0) << strerror(errno);
  return fd;
}

int connect_to(int fd, const std::string& name) {
  sockaddr_un address;
  socklen_t size = address_of(name, &address);
  return ::connect(fd, reinterpret_cast<sockaddr*>(&address), size);
}

std::string name_by(int (*call)(int, sockaddr*, socklen_t*), int fd) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (call(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "?";
  return name_of(address, size);
}

std::string receive(int fd, size_t limit = 65536) {
  std::string data(limit, '\0');
  ssize_t got = ::recv(fd, data.data(), limit, MSG_DONTWAIT);
  if (got < 0) return std::string("errno ") + std::to_string(errno);
  data.resize(static_cast<size_t>(got));
  return data;
}

void send_text(int fd, const std::string& text) {
  ASSERT_EQ(::send(fd, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL),
            static_cast<ssize_t>(text.size()))
      << strerror(errno);
}

void send_with_file(int fd, const std::string& text, int file) {
  Outgoing out;
  out.data = &text;
  out.files = {file};
  ASSERT_EQ(send_message(fd, out), 0);
}

int receive_file(int fd, std::string* text) {
  char control[256];
  char data[4096];
  iovec part{data, sizeof data};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = ::recvmsg(fd, &message, MSG_DONTWAIT);
  if (got < 0) return -1;
  text->assign(data, static_cast<size_t>(got));
  cmsghdr* first = CMSG_FIRSTHDR(&message);
  if (first == nullptr || first->cmsg_type != SCM_RIGHTS) return -1;
  int file = -1;
  memcpy(&file, CMSG_DATA(first), sizeof file);
  return file;
}

class Directory {
 public:
  Directory() { EXPECT_NE(::mkdtemp(path_), nullptr); }
  ~Directory() { (void)!::system(("rm -rf " + std::string(path_)).c_str()); }
  std::string operator/(const char* name) const { return std::string(path_) + "/" + name; }

 private:
  char path_[32] = "/tmp/ncr-unix-XXXXXX";
};

// ---- Pure
// --------------------------------------------------------------------------------------------------------------

TEST(unix_names, path_and_abstract_names_survive_the_sockaddr) {
  for (const std::string& name :
       {std::string("/run/x"), std::string("\0abs\0tract", 9), std::string(108, 'p')}) {
    sockaddr_un address;
    socklen_t size = address_of(name, &address);
    EXPECT_EQ(name_of(address, size), name);
  }
}

TEST(unix_names, base_is_what_stands_before_the_name) {
  std::string base;
  EXPECT_TRUE(base_of("run/x", "/srv/run/x", &base));
  EXPECT_EQ(base, "/srv");
  EXPECT_TRUE(base_of("/run/x", "/run/x", &base));
  EXPECT_EQ(base, "/");
  EXPECT_FALSE(base_of("/var/run/x", "/run/x", &base));
}

// ---- Queues, on live sockets
// --------------------------------------------------------------------------------------------

TEST(unix_queue, peeking_at_a_stream_takes_nothing) {
  Pair pair(SOCK_STREAM);
  send_text(pair.end[0], "one");
  send_text(pair.end[0], "two");
  Fd fd(::dup(pair.end[1]));
  auto messages = peek_queue(fd, SOCK_STREAM);
  ASSERT_TRUE(messages.ok());
  ASSERT_EQ(messages.value().size(), 1u);
  EXPECT_EQ(messages.value()[0].data, "onetwo");
  EXPECT_EQ(receive(pair.end[1]), "onetwo");
}

TEST(unix_queue, finds_the_byte_that_descriptors_came_with) {
  Pair pair(SOCK_STREAM);
  Pair other(SOCK_STREAM);
  send_text(pair.end[0], "before");
  send_with_file(pair.end[0], "with", other.end[0]);
  send_text(pair.end[0], "after");
  Fd fd(::dup(pair.end[1]));
  auto messages = peek_queue(fd, SOCK_STREAM);
  ASSERT_TRUE(messages.ok());
  ASSERT_EQ(messages.value().size(), 3u);
  EXPECT_EQ(messages.value()[0].data, "before");
  EXPECT_EQ(messages.value()[1].data, "with");
  EXPECT_EQ(messages.value()[1].files.size(), 1u);
  EXPECT_EQ(messages.value()[2].data, "after");
  int offset = 0;
  socklen_t size = sizeof offset;
  ASSERT_EQ(::getsockopt(pair.end[1], SOL_SOCKET, SO_PEEK_OFF, &offset, &size), 0);
  EXPECT_EQ(offset, -1);
}

// ---- Dumped and made again
// ----------------------------------------------------------------------------------------------

TEST(unix_socket, pair_goes_on_talking) {
  Pair pair(SOCK_STREAM);
  ASSERT_EQ(round_trip({pair.end[0], pair.end[1]}).error, "");
  send_text(pair.end[0], "hello");
  EXPECT_EQ(receive(pair.end[1]), "hello");
  send_text(pair.end[1], "back");
  EXPECT_EQ(receive(pair.end[0]), "back");
}

TEST(unix_socket, bytes_in_flight_survive_both_ways) {
  Pair pair(SOCK_STREAM);
  std::string big(150000, 'x');
  send_text(pair.end[0], big);
  send_text(pair.end[1], "answer");
  ASSERT_EQ(round_trip({pair.end[0], pair.end[1]}).error, "");
  std::string got;
  while (got.size() < big.size()) got += receive(pair.end[1]);
  EXPECT_EQ(got, big);
  EXPECT_EQ(receive(pair.end[0]), "answer");
}

TEST(unix_socket, messages_keep_their_boundaries) {
  for (int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    Pair pair(type);
    send_text(pair.end[0], "first");
    send_text(pair.end[0], "");
    send_text(pair.end[0], "third");
    ASSERT_EQ(round_trip({pair.end[0], pair.end[1]}).error, "");
    EXPECT_EQ(receive(pair.end[1]), "first");
    EXPECT_EQ(receive(pair.end[1]), "");
    EXPECT_EQ(receive(pair.end[1]), "third");
    EXPECT_EQ(receive(pair.end[1]), "errno " + std::to_string(EAGAIN));
  }
}

TEST(unix_socket, half_closed_stays_half_closed) {
  Pair pair(SOCK_STREAM);
  send_text(pair.end[0], "last words");
  ::shutdown(pair.end[0], SHUT_WR);
  ASSERT_EQ(round_trip({pair.end[0], pair.end[1]}).error, "");
  EXPECT_EQ(receive(pair.end[1]), "last words");
  EXPECT_EQ(receive(pair.end[1]), "");
  EXPECT_EQ(::send(pair.end[0], "x", 1, MSG_NOSIGNAL), -1);
  send_text(pair.end[1], "still open");
  EXPECT_EQ(receive(pair.end[0]), "still open");
}

TEST(unix_socket, closed_peer_stays_closed_and_its_bytes_are_there) {
  Pair pair(SOCK_STREAM);
  send_text(pair.end[0], "legacy");
  ::close(pair.end[0]);
  ASSERT_EQ(round_trip({pair.end[1]}).error, "");
  EXPECT_EQ(receive(pair.end[1]), "legacy");
  EXPECT_EQ(receive(pair.end[1]), "");
  pair.end[0] = -1;
}

TEST(unix_socket, reset_by_a_closed_peer_is_reported) {
  Pair pair(SOCK_STREAM);
  send_text(pair.end[1], "never read");
  ::close(pair.end[0]);
  pair.end[0] = -1;
  ASSERT_EQ(round_trip({pair.end[1]}).error, "");
  EXPECT_EQ(receive(pair.end[1]), "errno " + std::to_string(ECONNRESET));
}

TEST(unix_socket, descriptors_in_flight_arrive) {
  for (int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    Pair pair(type);
    Pair inner(SOCK_STREAM);
    send_text(pair.end[0], "plain");
    send_with_file(pair.end[0], "with", inner.end[0]);
    send_text(inner.end[0], "inside");
    ASSERT_EQ(round_trip({pair.end[0], pair.end[1], inner.end[1]}).error, "") << type;
    EXPECT_EQ(receive(pair.end[1], 5), "plain");
    std::string text;
    Fd file(receive_file(pair.end[1], &text));
    EXPECT_EQ(text, "with");
    ASSERT_TRUE(file.valid()) << type;
    EXPECT_EQ(receive(inner.end[1]), "inside");
    send_text(inner.end[1], "out");
    EXPECT_EQ(receive(file.get()), "out");
  }
}

TEST(unix_socket, names_of_an_accepted_connection_survive) {
  Directory directory;
  for (const std::string& name : {directory / "listener", std::string("\0ncr-test", 9)}) {
    Fd listener(make_bound(SOCK_STREAM, name));
    ASSERT_EQ(::listen(listener.get(), 5), 0);
    Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect_to(client.get(), name), 0);
    Fd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    send_text(client.get(), "request");
    ASSERT_EQ(round_trip({listener.get(), client.get(), server.get()}).error, "");
    EXPECT_EQ(name_by(::getsockname, server.get()), name);
    EXPECT_EQ(name_by(::getpeername, client.get()), name);
    EXPECT_EQ(name_by(::getsockname, listener.get()), name);
    EXPECT_EQ(receive(server.get()), "request");
    Fd second(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect_to(second.get(), name), 0);
  }
}

TEST(unix_socket, connections_outlive_their_listener) {
  Directory directory;
  for (const std::string& name : {directory / "gone", std::string("\0ncr-gone", 9)}) {
    Fd listener(make_bound(SOCK_SEQPACKET, name));
    ASSERT_EQ(::listen(listener.get(), 5), 0);
    Fd client(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect_to(client.get(), name), 0);
    Fd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    listener.close();
    ::unlink(name.c_str());
    ASSERT_EQ(round_trip({client.get(), server.get()}).error, "");
    EXPECT_EQ(name_by(::getpeername, client.get()), name);
    EXPECT_NE(::access(name.c_str(), F_OK), 0);
  }
}

TEST(unix_socket, node_comes_back_with_owner_and_mode) {
  Directory directory;
  std::string name = directory / "s";
  Fd listener(make_bound(SOCK_STREAM, name));
  ASSERT_EQ(::listen(listener.get(), 5), 0);
  ASSERT_EQ(::chmod(name.c_str(), 0612), 0);
  ASSERT_EQ(::chown(name.c_str(), 7, 8), 0);
  ASSERT_EQ(round_trip({listener.get()}).error, "");
  struct stat stat {};
  ASSERT_EQ(::stat(name.c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mode, static_cast<mode_t>(S_IFSOCK | 0612));
  EXPECT_EQ(stat.st_uid, 7u);
  EXPECT_EQ(stat.st_gid, 8u);
}

TEST(unix_socket, relative_name_is_bound_from_where_it_was) {
  Directory directory;
  Fd here(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::chdir((directory / ".").c_str()), 0);
  Fd listener(make_bound(SOCK_STREAM, "relative"));
  ASSERT_EQ(::listen(listener.get(), 5), 0);
  ASSERT_EQ(::fchdir(here.get()), 0);
  ASSERT_EQ(round_trip({listener.get()}).error, "");
  EXPECT_EQ(name_by(::getsockname, listener.get()), "relative");
  Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect_to(client.get(), directory / "relative"), 0);
}

TEST(unix_socket, clients_that_wait_are_accepted_in_their_order) {
  Directory directory;
  for (const std::string& name : {directory / "queue", std::string("\0ncr-queue", 10)}) {
    Fd listener(make_bound(SOCK_STREAM, name));
    ASSERT_EQ(::listen(listener.get(), 5), 0);
    Fd clients[3];
    for (Fd& client : clients) {
      client = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      ASSERT_EQ(connect_to(client.get(), name), 0);
    }
    ASSERT_EQ(
        round_trip({clients[2].get(), listener.get(), clients[0].get(), clients[1].get()}).error,
        "");
    for (Fd& client : clients) {
      Fd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      send_text(client.get(), "mine");
      EXPECT_EQ(receive(server.get()), "mine");
    }
  }
}

TEST(unix_socket, client_that_waits_and_has_sent_is_named) {
  Fd listener(make_bound(SOCK_STREAM, std::string("\0ncr-sent", 9)));
  ASSERT_EQ(::listen(listener.get(), 5), 0);
  Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect_to(client.get(), std::string("\0ncr-sent", 9)), 0);
  send_text(client.get(), "early");
  auto result = round_trip({listener.get(), client.get()});
  ASSERT_EQ(result.blockers.size(), 1u);
  EXPECT_EQ(result.blockers[0].reason, "a client has sent bytes and is not accepted yet");
}

TEST(unix_socket, datagrams_keep_their_sender) {
  Directory directory;
  std::string name = directory / "receiver";
  Fd receiver(make_bound(SOCK_DGRAM, name));
  Fd sender(make_bound(SOCK_DGRAM, directory / "sender"));
  ASSERT_EQ(connect_to(sender.get(), name), 0);
  send_text(sender.get(), "one");
  send_text(sender.get(), "two");
  ASSERT_EQ(round_trip({receiver.get(), sender.get()}).error, "");
  char data[16];
  sockaddr_un from{};
  socklen_t size = sizeof from;
  ASSERT_EQ(::recvfrom(receiver.get(), data, sizeof data, MSG_DONTWAIT,
                       reinterpret_cast<sockaddr*>(&from), &size),
            3);
  EXPECT_EQ(name_of(from, size), directory / "sender");
  EXPECT_EQ(receive(receiver.get()), "two");
  send_text(sender.get(), "three");
  EXPECT_EQ(receive(receiver.get()), "three");
}

TEST(unix_socket, sockets_that_had_one_name_in_turn_keep_their_own_peers) {
  Directory directory;
  const std::string name = directory / "taken in turn";
  std::vector<Fd> servers, clients;
  std::vector<int> all;
  for (int i = 0; i < 3; i++) {
    servers.emplace_back(make_bound(SOCK_DGRAM, name));
    clients.emplace_back(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect_to(clients.back().get(), name), 0);
    ASSERT_EQ(::unlink(name.c_str()), 0);
    send_text(clients.back().get(), "sent before " + std::to_string(i));
    all.push_back(clients.back().get());
    all.push_back(servers.back().get());
  }
  for (int times = 0; times < 2; times++) ASSERT_EQ(round_trip(all).error, "");
  for (size_t i = 0; i < 3; i++) {
    EXPECT_EQ(receive(servers[i].get()), "sent before " + std::to_string(i));
    send_text(clients[i].get(), std::to_string(i));
    EXPECT_EQ(receive(servers[i].get()), std::to_string(i));
    EXPECT_EQ(name_by(::getsockname, servers[i].get()), name);
    EXPECT_EQ(name_by(::getpeername, clients[i].get()), name);
  }
}

TEST(unix_socket, sockets_in_flight_in_each_other_and_in_themselves_arrive) {
  Pair pair(SOCK_DGRAM);
  for (int from : {0, 1})
    for (int which : {0, 1}) send_with_file(pair.end[from], "x", pair.end[which]);
  ASSERT_EQ(round_trip({pair.end[0], pair.end[1]}).error, "");
  std::string text;
  for (int end : {0, 1})
    for (int times = 0; times < 2; times++) {
      Fd arrived(receive_file(pair.end[end], &text));
      EXPECT_TRUE(arrived.valid());
      EXPECT_EQ(text, "x");
    }
}

TEST(unix_socket, datagram_sockets_stay_connected_to_a_name_outside) {
  Directory directory;
  std::string name = directory / "log";
  Fd outside(make_bound(SOCK_DGRAM, name));
  Fd client(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect_to(client.get(), name), 0);
  ASSERT_EQ(round_trip({client.get()}).error, "");
  send_text(client.get(), "line");
  EXPECT_EQ(receive(outside.get()), "line");
}

TEST(unix_socket, peer_outside_is_named) {
  Pair pair(SOCK_STREAM);
  auto result = round_trip({pair.end[0]});
  ASSERT_EQ(result.blockers.size(), 1u);
  EXPECT_EQ(result.blockers[0].reason, "its peer is outside the tree");
}

TEST(unix_socket, peer_outside_may_be_asked_for) {
  Pair pair(SOCK_STREAM);
  Reopening trip;
  const uint32_t id = trip.dump(pair.end[0]);
  Task task;
  task.pid = 9;
  const std::vector<SeenFile> seen = {{&trip.record(id), &task, FdNumber{5}}};
  const FdRoom* room = fd_room_of(schema::OpenFile::kUnixSocket);
  DumpRequest all;
  all.external_unix_sockets = true;
  DumpRequest one;
  one.externals.push_back({"unix", std::to_string(trip.record(id).unix_socket().peer_inode()), ""});
  Blockers none;
  ASSERT_TRUE(room->check(seen, all, none).ok());
  ASSERT_TRUE(room->check(seen, one, none).ok());
  EXPECT_TRUE(none.empty());
}

TEST(unix_socket, server_outside_is_connected_again) {
  Directory directory;
  for (int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    std::string name = directory / (type == SOCK_STREAM ? "stream" : "packets");
    Fd listener(make_bound(type, name));
    ASSERT_EQ(::listen(listener.get(), 5), 0);
    Fd client(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect_to(client.get(), name), 0);
    Fd before(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    Reopening trip;
    const uint32_t id = trip.dump(client.get());
    client.close();
    Result<> restored = trip.restore();
    ASSERT_TRUE(restored.ok()) << restored.error().text();
    Fd after(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    ASSERT_TRUE(after.valid());
    send_text(trip.opened(id), "again");
    EXPECT_EQ(receive(after.get()), "again");
    EXPECT_EQ(::fcntl(trip.opened(id), F_GETFL), O_RDWR);
  }
}

TEST(unix_socket, peer_outside_that_cannot_be_reached_has_closed) {
  Directory directory;
  for (int type : {SOCK_STREAM, SOCK_DGRAM}) {
    Pair pair(type);
    send_text(pair.end[1], "unread");
    Reopening trip;
    const uint32_t id = trip.dump(pair.end[0]);
    Result<> restored = trip.restore();
    ASSERT_TRUE(restored.ok()) << restored.error().text();
    EXPECT_EQ(receive(trip.opened(id)), "unread");
    EXPECT_EQ(::send(trip.opened(id), "x", 1, MSG_NOSIGNAL), -1);
    if (type == SOCK_STREAM) {
      EXPECT_EQ(receive(trip.opened(id)), "") << "end of file";
    }
  }
  std::string name = directory / "gone";
  Fd listener(make_bound(SOCK_STREAM, name));
  ASSERT_EQ(::listen(listener.get(), 5), 0);
  Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect_to(client.get(), name), 0);
  Reopening trip;
  const uint32_t id = trip.dump(client.get());
  trip.keep_records_only();
  listener.close();
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  EXPECT_EQ(receive(trip.opened(id)), "");
}

TEST(unix_socket, options_survive) {
  Pair pair(SOCK_STREAM);
  int one = 1;
  int bytes = 50000;
  timeval wait{3, 0};
  ASSERT_EQ(::setsockopt(pair.end[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one), 0);
  ASSERT_EQ(::setsockopt(pair.end[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
  ASSERT_EQ(::setsockopt(pair.end[0], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
  ASSERT_EQ(round_trip({pair.end[0], pair.end[1]}).error, "");
  int value = 0;
  socklen_t size = sizeof value;
  ::getsockopt(pair.end[0], SOL_SOCKET, SO_PASSCRED, &value, &size);
  EXPECT_EQ(value, 1);
  ::getsockopt(pair.end[0], SOL_SOCKET, SO_SNDBUF, &value, &size);
  EXPECT_EQ(value, 100000);
  size = sizeof wait;
  wait = {};
  ::getsockopt(pair.end[0], SOL_SOCKET, SO_RCVTIMEO, &wait, &size);
  EXPECT_EQ(wait.tv_sec, 3);
}

TEST(unix_socket, credentials_of_messages_under_way_survive) {
  Pair pair(SOCK_STREAM);
  int one = 1;
  ASSERT_EQ(::setsockopt(pair.end[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one), 0);
  std::string text = "who";
  Outgoing out;
  out.data = &text;
  out.credentials = ucred{::getpid(), 17, 18};
  ASSERT_EQ(send_message(pair.end[0], out), 0);
  ASSERT_EQ(round_trip({pair.end[0], pair.end[1]}).error, "");
  Fd copy(::fcntl(pair.end[1], F_DUPFD_CLOEXEC, 0));
  auto messages = peek_queue(copy, SOCK_STREAM);
  ASSERT_TRUE(messages.ok());
  ASSERT_EQ(messages.value().size(), 1u);
  ASSERT_TRUE(messages.value()[0].credentials.has_value());
  EXPECT_EQ(messages.value()[0].credentials->pid, ::getpid());
  EXPECT_EQ(messages.value()[0].credentials->uid, 17u);
  EXPECT_EQ(messages.value()[0].credentials->gid, 18u);
}

TEST(unix_socket, datagram_socket_that_no_longer_sends_stays_so) {
  Pair pair(SOCK_DGRAM);
  send_text(pair.end[0], "before");
  ::shutdown(pair.end[0], SHUT_WR);
  ASSERT_EQ(round_trip({pair.end[0], pair.end[1]}).error, "");
  EXPECT_EQ(receive(pair.end[1]), "before");
  EXPECT_EQ(::send(pair.end[0], "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EPIPE);
}

TEST(unix_socket, filter_on_a_socket_survives) {
  Pair pair(SOCK_DGRAM);
  sock_filter drop[] = {{BPF_RET | BPF_K, 0, 0, 0}};
  sock_fprog program{1, drop};
  ASSERT_EQ(::setsockopt(pair.end[1], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
  ASSERT_EQ(round_trip({pair.end[0], pair.end[1]}).error, "");
  (void)!::send(pair.end[0], "dropped", 7, MSG_DONTWAIT | MSG_NOSIGNAL);
  EXPECT_EQ(receive(pair.end[1]), "errno " + std::to_string(EAGAIN));
}

TEST(unix_socket, stale_node_is_replaced_and_a_live_one_is_named) {
  Directory directory;
  std::string name = directory / "taken";
  Fd listener(make_bound(SOCK_STREAM, name));
  ASSERT_EQ(::listen(listener.get(), 5), 0);
  Fd copy(::fcntl(listener.get(), F_DUPFD_CLOEXEC, 0));  // keeps the name busy
  auto result = round_trip({listener.get()});
  EXPECT_NE(result.error.find("another process is bound to this name"), std::string::npos)
      << result.error;
}

// ---- Whole checkpoints
// --------------------------------------------------------------------------------------------------

// Answers every message in upper case, until its end is closed.
[[noreturn]] void echo_loudly(int fd) {
  char data[256];
  ssize_t got;
  while ((got = ::recv(fd, data, sizeof data, 0)) > 0) {
    for (ssize_t i = 0; i < got; i++) data[i] = static_cast<char>(::toupper(data[i]));
    ::send(fd, data, static_cast<size_t>(got), MSG_NOSIGNAL);
  }
  ::_exit(7);
}

std::string ask(int fd, const std::string& text) {
  send_text(fd, text);
  char data[256];
  ssize_t got = ::recv(fd, data, sizeof data, 0);
  return std::string(data, static_cast<size_t>(got < 0 ? 0 : got));
}

ucred peer_of(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  EXPECT_EQ(::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
  return peer;
}

CR_TEST(unix_socket, parent_and_child_go_on_talking_over_a_pair) {
  Pair pair(SOCK_SEQPACKET);
  pid_t child = ::fork();
  if (child == 0) {
    ::close(pair.end[0]);
    echo_loudly(pair.end[1]);
  }
  ::close(pair.end[1]);
  pair.end[1] = -1;
  EXPECT_EQ(ask(pair.end[0], "before"), "BEFORE");
  checkpoint_restore();
  EXPECT_EQ(ask(pair.end[0], "after"), "AFTER");
  ::shutdown(pair.end[0], SHUT_WR);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

CR_TEST(unix_socket, client_of_a_listener_keeps_names_and_credentials) {
  std::string name("\0ncr-cr-listener", 16);
  Fd listener(make_bound(SOCK_STREAM, name));
  ASSERT_EQ(::listen(listener.get(), 9), 0);
  pid_t child = ::fork();
  if (child == 0) {
    listener.close();
    Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::setresuid(12, 34, 0) != 0 || connect_to(client.get(), name) != 0) ::_exit(1);
    echo_loudly(client.get());
  }
  Fd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ucred before = peer_of(server.get());
  EXPECT_EQ(before.pid, child);
  EXPECT_EQ(before.uid, 34u);
  EXPECT_EQ(ask(server.get(), "one"), "ONE");
  checkpoint_restore();
  EXPECT_EQ(ask(server.get(), "two"), "TWO");
  ucred after = peer_of(server.get());
  EXPECT_EQ(after.pid, before.pid);
  EXPECT_EQ(after.uid, before.uid);
  EXPECT_EQ(after.gid, before.gid);
  EXPECT_EQ(name_by(::getsockname, server.get()), name);
  EXPECT_EQ(name_by(::getsockname, listener.get()), name);
  ::kill(child, SIGKILL);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

CR_TEST(unix_socket, what_is_in_flight_arrives_with_its_descriptors) {
  Pair pair(SOCK_STREAM);
  Pair inner(SOCK_DGRAM);
  send_text(pair.end[0], "bytes");
  send_with_file(pair.end[0], "file", inner.end[0]);
  ::close(inner.end[0]);
  inner.end[0] = -1;
  send_text(inner.end[1], "waits inside");
  checkpoint_restore();
  EXPECT_EQ(receive(pair.end[1], 5), "bytes");
  std::string text;
  Fd file(receive_file(pair.end[1], &text));
  EXPECT_EQ(text, "file");
  ASSERT_TRUE(file.valid());
  EXPECT_EQ(receive(file.get()), "waits inside");
}

CR_TEST(unix_socket, path_listener_is_reached_again) {
  std::string name = "/tmp/ncr-cr-" + std::to_string(::getpid());
  ::unlink(name.c_str());
  Fd listener(make_bound(SOCK_STREAM, name));
  ASSERT_EQ(::listen(listener.get(), 3), 0);
  Fd waiting(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect_to(waiting.get(), name), 0);
  checkpoint_restore();
  Fd first(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  send_text(waiting.get(), "at last");
  EXPECT_EQ(receive(first.get()), "at last");
  Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect_to(client.get(), name), 0);
  ::unlink(name.c_str());
}

// The harness holds the other end.
CR_TEST_WITH(unix_socket, peer_outside_is_refused_by_name,
             .refused_with = "its peer is outside the tree") {
  static_assert(sizeof(pid_t) == 4);
  Pair pair(SOCK_STREAM);
  // A process of another session and parent: not of the tree.
  pid_t middle = ::fork();
  if (middle == 0) {
    if (::fork() == 0) {
      ::setsid();
      char byte;
      ::close(pair.end[0]);
      (void)!::read(pair.end[1], &byte, 1);
      ::_exit(0);
    }
    ::_exit(0);
  }
  ::waitpid(middle, nullptr, 0);
  ::close(pair.end[1]);
  pair.end[1] = -1;
  checkpoint_restore();
}

}  // namespace
}  // namespace ncr::unix_socket
