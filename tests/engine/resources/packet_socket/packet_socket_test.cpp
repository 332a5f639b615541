#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"

namespace ncr {
namespace {

constexpr int kLoopback = 1;

Fd packet(int type, uint16_t protocol) {
  return Fd(MUST(SYSCALL(::socket(AF_PACKET, type | SOCK_CLOEXEC, htons(protocol)), "socket")));
}

sockaddr_ll name_of(const Fd& socket) {
  sockaddr_ll name{};
  socklen_t size = sizeof name;
  EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &size), 0);
  return name;
}

void bind_to_loopback(const Fd& socket, uint16_t protocol) {
  sockaddr_ll name{};
  name.sll_family = AF_PACKET;
  name.sll_protocol = htons(protocol);
  name.sll_ifindex = kLoopback;
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
}

int option(const Fd& socket, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(socket.get(), SOL_PACKET, name, &value, &size), 0);
  return value;
}

void set(const Fd& socket, int name, int value) {
  ASSERT_EQ(::setsockopt(socket.get(), SOL_PACKET, name, &value, sizeof value), 0);
}

CR_TEST(packet_socket, stays_on_its_link_with_its_options) {
  Fd socket = packet(SOCK_DGRAM, 0);
  bind_to_loopback(socket, ETH_P_IP);
  set(socket, PACKET_AUXDATA, 1);
  set(socket, PACKET_FANOUT, 77);
  Fd idle = packet(SOCK_RAW, 0);
  checkpoint_restore();
  EXPECT_EQ(name_of(socket).sll_ifindex, kLoopback);
  EXPECT_EQ(name_of(socket).sll_protocol, htons(ETH_P_IP));
  EXPECT_EQ(option(socket, PACKET_AUXDATA), 1);
  EXPECT_EQ(option(socket, PACKET_FANOUT), 77);
  EXPECT_EQ(name_of(idle).sll_protocol, 0);
}

CR_TEST(packet_socket, keeps_its_memberships_and_its_rings) {
  Fd socket = packet(SOCK_RAW, 0);
  packet_mreq everything{};
  everything.mr_ifindex = kLoopback;
  everything.mr_type = PACKET_MR_PROMISC;
  ASSERT_EQ(
      ::setsockopt(socket.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &everything, sizeof everything),
      0);
  set(socket, PACKET_VERSION, TPACKET_V2);
  tpacket_req ring{4096, 2, 2048, 4};
  ASSERT_EQ(::setsockopt(socket.get(), SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring), 0);
  checkpoint_restore();
  EXPECT_EQ(option(socket, PACKET_VERSION), TPACKET_V2);
  void* mapped = ::mmap(nullptr, 8192, PROT_READ, MAP_SHARED, socket.get(), 0);
  EXPECT_NE(mapped, MAP_FAILED) << "of the size of the ring";
  if (mapped != MAP_FAILED) ::munmap(mapped, 8192);
  const std::string flags = MUST(sys::read_file("/sys/class/net/lo/flags"));
  EXPECT_NE(std::strtoul(flags.c_str(), nullptr, 16) & IFF_PROMISC, 0u);
}

CR_TEST(packet_socket, its_filter_still_decides) {
  Fd socket = packet(SOCK_DGRAM, 0);
  sock_filter none[] = {{BPF_RET | BPF_K, 0, 0, 0}};
  sock_fprog program{1, none};
  ASSERT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
  bind_to_loopback(socket, ETH_P_IP);
  checkpoint_restore();
  Fd sender(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  (void)::sendto(sender.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to);
  char byte = 0;
  EXPECT_EQ(::recv(socket.get(), &byte, 1, MSG_DONTWAIT), -1);
}

}  // namespace
}  // namespace ncr
