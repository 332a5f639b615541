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

// ---- Listeners

struct Listener {
  int fd = -1;
  sockaddr_in6 address{};  // of IPv4 if it begins so
  socklen_t size = sizeof address;

  static Listener at(int family, const in6_addr& host, uint16_t port, int v6_only = 0) {
    Listener made;
    made.address.sin6_family = static_cast<sa_family_t>(family);
    made.address.sin6_port = port;
    if (family == AF_INET6) made.address.sin6_addr = host;
    made.size = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    made.fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    EXPECT_EQ(::setsockopt(made.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    if (family == AF_INET6) {
      EXPECT_EQ(::setsockopt(made.fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only), 0);
    }
    EXPECT_EQ(::bind(made.fd, made.name(), made.size), 0) << strerror(errno);
    EXPECT_EQ(::listen(made.fd, 8), 0);
    EXPECT_EQ(::getsockname(made.fd, made.name(), &made.size), 0);
    return made;
  }
  sockaddr* name() { return reinterpret_cast<sockaddr*>(&address); }
  uint16_t port() const { return address.sin6_port; }  // at the same place in both
  std::vector<LockScope> scopes(bool v6_only = false) const {
    std::vector<LockScope> list(1);
    list[0].listeners = {{std::string(reinterpret_cast<const char*>(&address), size), v6_only}};
    return list;
  }
};

// A client of the loopback that is not waited for.
int begin_to_connect(int family, uint16_t port) {
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_port = port;
  six.sin6_addr = in6addr_loopback;
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_port = port;
  four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (family == AF_INET6)
    (void)::connect(fd, reinterpret_cast<sockaddr*>(&six), sizeof six);
  else
    (void)::connect(fd, reinterpret_cast<sockaddr*>(&four), sizeof four);
  return fd;
}

// What became of it within that time: 0, an errno, or EINPROGRESS.
int outcome(int fd, int patience_ms) {
  pollfd wait{fd, POLLOUT, 0};
  if (::poll(&wait, 1, patience_ms) != 1) return EINPROGRESS;
  int error = 0;
  socklen_t size = sizeof error;
  EXPECT_EQ(::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
  return error;
}

TEST(cr_network_lock, new_client_of_a_listener_asks_again_until_it_is_gone) {
  in_child([] {
    Connection connection = connect_in_own_namespace();
    Listener locked = Listener::at(AF_INET, {}, 0);
    Listener other = Listener::at(AF_INET, {}, 0);
    int client = -1;
    {
      NetworkLock lock = MUST(NetworkLock::lock(locked.scopes()));
      client = begin_to_connect(AF_INET, locked.port());
      EXPECT_EQ(outcome(client, kSoon), EINPROGRESS);
      EXPECT_EQ(outcome(begin_to_connect(AF_INET, other.port()), kLater), 0);
      EXPECT_TRUE(connection.passes(kLater));
    }
    EXPECT_EQ(outcome(client, kLater), 0);
  });
}

TEST(cr_network_lock, kept_one_holds_new_clients_only_while_nobody_listens) {
  in_child([] {
    (void)connect_in_own_namespace();
    Listener gone = Listener::at(AF_INET, {}, 0);
    {
      NetworkLock lock = MUST(NetworkLock::lock(gone.scopes()));
      EXPECT_EQ(lock.keep(), 0);
    }
    EXPECT_EQ(outcome(begin_to_connect(AF_INET, gone.port()), kLater), 0) << "it listens yet";
    ::close(gone.fd);
    const int client = begin_to_connect(AF_INET, gone.port());
    EXPECT_EQ(outcome(client, kSoon), EINPROGRESS) << "it was refused";
    Listener back = Listener::at(AF_INET, {}, gone.port());
    EXPECT_EQ(outcome(client, kLater), 0);
    ::close(back.fd);
    const LockScope again = std::move(back.scopes()[0]);
    MUST(free_from_kept_locks(again));
    EXPECT_EQ(outcome(begin_to_connect(AF_INET, gone.port()), kLater), ECONNREFUSED);
  });
}

TEST(cr_network_lock, listener_at_every_address_is_locked_for_the_families_that_it_serves) {
  in_child([] {
    (void)connect_in_own_namespace();
    for (const bool v6_only : {false, true}) {
      Listener six = Listener::at(AF_INET6, in6addr_any, 0, v6_only);
      NetworkLock lock = MUST(NetworkLock::lock(six.scopes(v6_only)));
      EXPECT_EQ(outcome(begin_to_connect(AF_INET6, six.port()), kSoon), EINPROGRESS);
      EXPECT_EQ(outcome(begin_to_connect(AF_INET, six.port()), v6_only ? kLater : kSoon),
                v6_only ? ECONNREFUSED : EINPROGRESS);
    }
    Listener one = Listener::at(AF_INET6, in6addr_loopback, 0, 1);
    NetworkLock lock = MUST(NetworkLock::lock(one.scopes(true)));
    EXPECT_EQ(outcome(begin_to_connect(AF_INET6, one.port()), kSoon), EINPROGRESS);
  });
}

TEST(cr_network_lock, where_others_may_listen_too_only_a_kept_one_holds_clients) {
  in_child([] {
    (void)connect_in_own_namespace();
    Listener shared = Listener::at(AF_INET, {}, 0);
    std::vector<LockScope> scopes = shared.scopes();
    std::swap(scopes[0].listeners, scopes[0].shared_listeners);
    NetworkLock lock = MUST(NetworkLock::lock(scopes));
    EXPECT_EQ(outcome(begin_to_connect(AF_INET, shared.port()), kLater), 0);
    EXPECT_EQ(lock.keep(), 0);
    ::close(shared.fd);
    EXPECT_EQ(outcome(begin_to_connect(AF_INET, shared.port()), kSoon), EINPROGRESS);
  });
}

}  // namespace
}  // namespace ncr
