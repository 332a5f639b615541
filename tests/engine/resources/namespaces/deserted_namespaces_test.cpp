// Namespaces that no task is in: descriptors, sockets and mounts hold them.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "engine/base/sys.h"
#include "tests/engine/resources/net_namespace/fresh_net.h"
#include "tests/support/checkpoint_test.h"

namespace ncr::namespaces {
namespace {

using net_namespace::kQuick;

void must_run(const std::string& command) { ASSERT_EQ(net_namespace::run(command), 0) << command; }

Fd open_own(const char* kind) {
  return MUST(sys::open(strf("/proc/self/ns/%s", kind).c_str(), O_RDONLY));
}

void enter(const Fd& nsfs) { MUST(SYSCALL(::setns(nsfs.get(), 0), "setns")); }

// A new namespace, and back where we were.
Fd make(const char* kind, int flag, const std::function<void()>& set_up) {
  Fd own = open_own(kind);
  MUST(SYSCALL(::unshare(flag), "unshare"));
  Fd made = open_own(kind);
  set_up();
  enter(own);
  return made;
}

sockaddr_in address_of(const char* text, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, text, &address.sin_addr);
  return address;
}

Fd bound_socket(int type, const char* text, uint16_t port) {
  Fd fd(MUST(SYSCALL(::socket(AF_INET, type, 0), "socket")));
  sockaddr_in address = address_of(text, port);
  MUST(SYSCALL(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), "bind"));
  return fd;
}

CR_TEST(deserted_namespaces, a_network_with_links_and_rules) {
  Fd held = make("net", CLONE_NEWNET, [] {
    must_run(std::string(kQuick) +
             "ip link set lo up && ip link add d0 index 33 type veth peer name d1 && ip link set "
             "d0 up && ip link set d1 up && "
             "ip addr add 10.91.0.1/24 dev d0 && ip route add 10.92.0.0/16 dev d0 && "
             "echo 77 >/proc/sys/net/ipv4/ip_unprivileged_port_start && "
             "nft add table ip kept");
  });
  checkpoint_restore();
  enter(held);
  must_run(
      "ip addr show dev d0 | grep -q 10.91.0.1/24 && ip route | grep -q 10.92.0.0/16 && "
      "test $(cat /proc/sys/net/ipv4/ip_unprivileged_port_start) = 77 && "
      "nft list tables | grep -q 'table ip kept'");
  EXPECT_EQ(::if_nametoindex("d0"), 33u);
}

CR_TEST(deserted_namespaces, a_network_that_only_a_socket_holds) {
  Fd server;
  (void)make("net", CLONE_NEWNET, [&] {
    must_run("ip link set lo up && ip addr add 10.93.0.1/32 dev lo");
    server = bound_socket(SOCK_STREAM, "10.93.0.1", 7010);
    MUST(SYSCALL(::listen(server.get(), 5), "listen"));
  });
  checkpoint_restore();
  constexpr int kSiocgskns = 0x894C;
  Fd there(MUST(SYSCALL(::ioctl(server.get(), kSiocgskns), "SIOCGSKNS")));
  enter(there);
  Fd client(MUST(SYSCALL(::socket(AF_INET, SOCK_STREAM, 0), "socket")));
  sockaddr_in address = address_of("10.93.0.1", 7010);
  MUST(SYSCALL(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address),
               "connect"));
}

CR_TEST_WITH(deserted_namespaces, connections_within_one, .tcp = TcpPolicy::kKeep) {
  Fd client, accepted;
  Fd held = make("net", CLONE_NEWNET, [&] {
    must_run("ip link set lo up");
    Fd server = bound_socket(SOCK_STREAM, "127.0.0.1", 7011);
    MUST(SYSCALL(::listen(server.get(), 5), "listen"));
    client = Fd(MUST(SYSCALL(::socket(AF_INET, SOCK_STREAM, 0), "socket")));
    sockaddr_in address = address_of("127.0.0.1", 7011);
    MUST(SYSCALL(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address),
                 "connect"));
    accepted = Fd(MUST(SYSCALL(::accept4(server.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept")));
  });
  EXPECT_EQ(::send(client.get(), "kept", 4, 0), 4);
  checkpoint_restore();
  char bytes[8];
  EXPECT_EQ(::recv(accepted.get(), bytes, sizeof bytes, 0), 4);
  EXPECT_EQ(::send(accepted.get(), "back", 4, 0), 4);
  EXPECT_EQ(::recv(client.get(), bytes, sizeof bytes, 0), 4);
}

CR_TEST(deserted_namespaces, a_veth_leads_into_one) {
  MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  must_run(std::string(kQuick) +
           "ip link add va type veth peer name vb && ip link set va up && "
           "ip addr add 10.94.0.1/24 dev va");
  Fd own = open_own("net");
  Fd held = make("net", CLONE_NEWNET, [&] { must_run(kQuick + std::string("true")); });
  must_run("ip link set vb netns " + strf("/proc/%d/fd/%d", ::getpid(), held.get()));
  enter(held);
  must_run("ip link set vb up && ip addr add 10.94.0.2/24 dev vb");
  enter(own);
  Fd heard = bound_socket(SOCK_DGRAM, "10.94.0.1", 7012);
  checkpoint_restore();
  enter(held);
  Fd speaker = bound_socket(SOCK_DGRAM, "10.94.0.2", 0);
  sockaddr_in to = address_of("10.94.0.1", 7012);
  EXPECT_EQ(::sendto(speaker.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 1);
  const timeval patience{5, 0};
  ::setsockopt(heard.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  char byte = 0;
  EXPECT_EQ(::recv(heard.get(), &byte, 1, 0), 1);
}

CR_TEST(deserted_namespaces, one_whose_descriptor_is_in_flight) {
  int ends[2];
  MUST(SYSCALL(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair"));
  {
    Fd held = make("net", CLONE_NEWNET, [] { must_run("ip link add d7 type veth peer name d8"); });
    char byte = 'x';
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int number = held.get();
    std::memcpy(CMSG_DATA(header), &number, sizeof number);
    MUST(SYSCALL(::sendmsg(ends[0], &message, 0), "sendmsg"));
  }
  checkpoint_restore();
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ASSERT_EQ(::recvmsg(ends[1], &message, 0), 1);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  ASSERT_NE(header, nullptr);
  int number = -1;
  std::memcpy(&number, CMSG_DATA(header), sizeof number);
  Fd held(number);
  enter(held);
  EXPECT_NE(::if_nametoindex("d7"), 0u);
}

CR_TEST(deserted_namespaces, queues_of_an_ipc_namespace) {
  Fd held = make("ipc", CLONE_NEWIPC, [] {
    int queue = MUST(SYSCALL(::msgget(0x4711, IPC_CREAT | 0600), "msgget"));
    struct {
      long type;
      char text[5];
    } message{3, "kept"};
    MUST(SYSCALL(::msgsnd(queue, &message, sizeof message.text, 0), "msgsnd"));
  });
  checkpoint_restore();
  enter(held);
  int queue = MUST(SYSCALL(::msgget(0x4711, 0), "msgget"));
  struct {
    long type;
    char text[5];
  } message{};
  EXPECT_EQ(::msgrcv(queue, &message, sizeof message.text, 3, IPC_NOWAIT), 5);
  EXPECT_STREQ(message.text, "kept");
}

std::string cgroups_seen_in(const Fd& held) {
  Fd own = open_own("cgroup");
  enter(held);
  std::string seen = MUST(sys::read_file("/proc/self/cgroup"));
  enter(own);
  return seen;
}

CR_TEST(deserted_namespaces, a_cgroup_namespace_shows_the_same_root) {
  Fd held = make("cgroup", CLONE_NEWCGROUP, [] {});
  const std::string before = cgroups_seen_in(held);
  checkpoint_restore();
  EXPECT_EQ(cgroups_seen_in(held), before);
  EXPECT_NE(MUST(sys::read_link_at(Fd(), "/proc/self/ns/cgroup")),
            MUST(sys::read_link_at(Fd(), strf("/proc/self/fd/%d", held.get()).c_str())));
}

CR_TEST(deserted_namespaces, files_of_a_mount_namespace) {
  Fd held = make("mnt", CLONE_NEWNS, [] {
    MUST(SYSCALL(::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr), "mount"));
    MUST(SYSCALL(::mount("held", "/mnt", "tmpfs", 0, nullptr), "mount"));
    MUST(SYSCALL(::mkdir("/mnt/kept", 0755), "mkdir"));
  });
  checkpoint_restore();
  enter(held);
  EXPECT_EQ(::access("/mnt/kept", F_OK), 0);
}

}  // namespace
}  // namespace ncr::namespaces
