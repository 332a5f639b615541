#include "engine/tree/network_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/netfilter/nf_tables.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr {
namespace {

// Two connected sockets in a network namespace of this process's own.
struct Connection {
  int client = -1;
  int server = -1;

  static std::string name_by(int call(int, sockaddr*, socklen_t*), int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    call(fd, reinterpret_cast<sockaddr*>(&address), &size);
    return std::string(reinterpret_cast<char*>(&address), size);
  }
  std::vector<LockScope> scopes() const {
    std::vector<LockScope> list(1);
    list[0].connections = {{name_by(::getsockname, client), name_by(::getpeername, client)}};
    return list;
  }
  // Whether a byte arrives soon; one that was dropped comes again later (RTO).
  bool passes(int patience_ms) const {
    EXPECT_EQ(::send(client, "x", 1, MSG_NOSIGNAL), 1);
    pollfd wait{server, POLLIN, 0};
    if (::poll(&wait, 1, patience_ms) != 1) return false;
    char bytes[16];
    return ::recv(server, bytes, sizeof bytes, 0) > 0;
  }
};

Connection connect_in_own_namespace() {
  if (::unshare(CLONE_NEWNET) != 0) throw std::runtime_error("unshare");
  int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  EXPECT_EQ(::ioctl(fd, SIOCSIFFLAGS, &request), 0);
  int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::listen(listener, 1), 0);
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  Connection connection;
  connection.client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::connect(connection.client, reinterpret_cast<sockaddr*>(&address), size), 0);
  connection.server = ::accept(listener, nullptr, nullptr);
  return connection;
}

// `body` in a child, whose failures are ours.
void in_child(const std::function<void()>& body) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  pid_t pid = test::fork_child([&] {
    body();
    if (testing::Test::HasFailure()) ::_exit(1);
  });
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

constexpr int kSoon = 100;
constexpr int kLater = 20'000;

TEST(cr_network_lock, drops_packets_until_it_is_gone) {
  in_child([] {
    Connection connection = connect_in_own_namespace();
    EXPECT_TRUE(connection.passes(kLater));
    {
      NetworkLock lock = MUST(NetworkLock::lock(connection.scopes()));
      EXPECT_FALSE(connection.passes(kSoon));
    }
    EXPECT_TRUE(connection.passes(kLater));
  });
}

TEST(cr_network_lock, dies_with_the_process_that_made_it) {
  in_child([] {
    Connection connection = connect_in_own_namespace();
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    pid_t holder = test::fork_child([&] {
      NetworkLock lock = MUST(NetworkLock::lock(connection.scopes()));
      (void)!::write(ready[1], "r", 1);
      for (;;) ::pause();
    });
    char byte;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    EXPECT_FALSE(connection.passes(kSoon));
    ::kill(holder, SIGKILL);
    ::waitpid(holder, nullptr, 0);
    EXPECT_TRUE(connection.passes(kLater));
  });
}

TEST(cr_network_lock, kept_one_stays_until_it_is_removed_by_name) {
  in_child([] {
    Connection connection = connect_in_own_namespace();
    std::string name;
    {
      NetworkLock lock = MUST(NetworkLock::lock(connection.scopes()));
      EXPECT_EQ(lock.keep(), 0);
      name = lock.kept_name();
    }
    EXPECT_FALSE(connection.passes(kSoon));
    MUST(remove_kept_lock(Fd(), name));
    EXPECT_TRUE(connection.passes(kLater));
    MUST(remove_kept_lock(Fd(), name));  // nothing there is as good
  });
}

// A tree that was moved away and comes back in another image has left a table that no image names.
TEST(cr_network_lock, connections_that_are_back_are_held_by_no_kept_one) {
  in_child([] {
    Connection connection = connect_in_own_namespace();
    const std::vector<LockScope> ours = connection.scopes();
    LockScope other;
    other.connections = {{ours[0].connections[0].local, ours[0].connections[0].local}};
    std::vector<LockScope> both = connection.scopes();
    both[0].connections.push_back(other.connections[0]);
    std::string shared_name, own_name;
    {
      NetworkLock shared = MUST(NetworkLock::lock(both));
      NetworkLock own = MUST(NetworkLock::lock(ours));
      ASSERT_EQ(shared.keep(), 0);
      ASSERT_EQ(own.keep(), 0);
      shared_name = shared.kept_name();
      own_name = own.kept_name();
    }
    EXPECT_FALSE(connection.passes(kSoon));
    MUST(free_from_kept_locks(ours[0]));
    EXPECT_TRUE(connection.passes(kLater));
    auto exists = [](const std::string& name) {
      return ::system(("nft list table inet " + name + " >/dev/null 2>&1").c_str()) == 0;
    };
    EXPECT_FALSE(exists(own_name));
    EXPECT_TRUE(exists(shared_name)) << "it holds a connection that is still away";
    MUST(free_from_kept_locks(other));
    EXPECT_FALSE(exists(shared_name));
  });
}

TEST(cr_network_lock, works_in_the_namespace_of_a_socket) {
  in_child([] {
    Fd outside = MUST(sys::open("/proc/self/ns/net", O_RDONLY));
    Connection connection = connect_in_own_namespace();
    ASSERT_EQ(::setns(outside.get(), CLONE_NEWNET), 0);
    std::vector<LockScope> scopes = connection.scopes();
    scopes[0].net_namespace =
        MUST(net_namespace_of(Fd(::fcntl(connection.client, F_DUPFD_CLOEXEC, 0))));
    NetworkLock lock = MUST(NetworkLock::lock(scopes));
    EXPECT_FALSE(connection.passes(kSoon));
    MUST(lock.unlock());
    EXPECT_TRUE(connection.passes(kLater));
  });
}

TEST(cr_network_lock, takes_thousands_of_connections) {
  in_child([] {
    Connection connection = connect_in_own_namespace();
    std::vector<LockScope> scopes = connection.scopes();
    for (uint16_t port = 1; port < 20'000; port++) {
      sockaddr_in peer{};
      peer.sin_family = AF_INET;
      peer.sin_addr.s_addr = htonl(0xc0000201);
      peer.sin_port = htons(port);
      scopes[0].connections.push_back({scopes[0].connections[0].local,
                                       std::string(reinterpret_cast<char*>(&peer), sizeof peer)});
    }
    NetworkLock lock = MUST(NetworkLock::lock(scopes));
    EXPECT_FALSE(connection.passes(kSoon));
  });
}

}  // namespace
}  // namespace ncr
