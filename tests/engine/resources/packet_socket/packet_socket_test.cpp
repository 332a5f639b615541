#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "engine/resources/packet_socket/ring_mapping.h"
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

struct Ring {
  Fd socket;
  void* at = MAP_FAILED;
};
constexpr size_t kRingSize = 8192;

Ring mapped_ring(int version) {
  Ring ring{packet(SOCK_RAW, 0)};
  set(ring.socket, PACKET_VERSION, version);
  tpacket_req3 request{4096, 2, 2048, 4, 50, 0, 0};
  EXPECT_EQ(::setsockopt(ring.socket.get(), SOL_PACKET, PACKET_RX_RING, &request,
                         version == TPACKET_V3 ? sizeof request : sizeof(tpacket_req)),
            0);
  ring.at = ::mmap(nullptr, kRingSize, PROT_READ | PROT_WRITE, MAP_SHARED, ring.socket.get(), 0);
  EXPECT_NE(ring.at, MAP_FAILED);
  return ring;
}

void say_something() {
  Fd sender(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  (void)::sendto(sender.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to);
}

// A frame that is bound to come.
void let_a_frame_come(const Ring& ring) {
  bind_to_loopback(ring.socket, ETH_P_IP);
  say_something();
  pollfd wait{ring.socket.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&wait, 1, 5000), 1);
}

uint64_t first_status(const Ring& ring, int version) {
  if (version == TPACKET_V1) return static_cast<tpacket_hdr*>(ring.at)->tp_status;
  if (version == TPACKET_V2) return static_cast<tpacket2_hdr*>(ring.at)->tp_status;
  return static_cast<tpacket_block_desc*>(ring.at)->hdr.bh1.block_status;
}

TEST(packet_ring, one_that_nobody_has_used_is_full_of_zeros) {
  schema::PacketSocket socket;
  for (schema::PacketRing* ring : {socket.mutable_receive_ring(), socket.mutable_send_ring()}) {
    ring->set_block_size(4096);
    ring->set_block_count(2);
    ring->set_frame_size(2048);
    ring->set_frame_count(4);
  }
  std::string content(4 * 4096, '\0');
  EXPECT_FALSE(packet_socket::has_been_used(socket, content));
  EXPECT_FALSE(packet_socket::has_been_used(socket, content.substr(0, 100)));
  content[3 * 4096 + 2048] = 1;  // the last frame, of those to be sent
  EXPECT_TRUE(packet_socket::has_been_used(socket, content));
}

CR_TEST(packet_socket, a_mapped_ring_takes_frames_again) {
  for (int version : {TPACKET_V1, TPACKET_V2, TPACKET_V3}) {
    Ring ring = mapped_ring(version);
    checkpoint_restore();
    let_a_frame_come(ring);
    EXPECT_NE(first_status(ring, version) & TP_STATUS_USER, 0u) << version;
    ::munmap(ring.at, kRingSize);
  }
}

CR_TEST(packet_socket, a_child_that_inherited_a_mapped_ring_sees_the_same_frames) {
  Ring ring = mapped_ring(TPACKET_V2);
  int ends[2];
  MUST(SYSCALL(::pipe(ends), "pipe"));
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    ::close(ends[1]);
    (void)!::read(ends[0], &byte, 1);
    ::_exit((first_status(ring, TPACKET_V2) & TP_STATUS_USER) != 0 ? 0 : 1);
  }
  ::close(ends[0]);
  checkpoint_restore();
  let_a_frame_come(ring);
  ::close(ends[1]);
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

CR_TEST_WITH(packet_socket, a_mapped_ring_in_use_is_refused,
             .refused_with = "how far the kernel is in it cannot be seen") {
  Ring ring = mapped_ring(TPACKET_V2);
  let_a_frame_come(ring);
  checkpoint_restore();
  EXPECT_NE(first_status(ring, TPACKET_V2) & TP_STATUS_USER, 0u);
}

CR_TEST_WITH(packet_socket, a_mapped_ring_without_a_descriptor_is_refused,
             .refused_with = "that no descriptor here leads to") {
  Ring ring = mapped_ring(TPACKET_V2);
  ring.socket = Fd();
  checkpoint_restore();
  EXPECT_EQ(first_status(ring, TPACKET_V2), 0u);
}

CR_TEST(packet_socket, its_filter_still_decides) {
  Fd socket = packet(SOCK_DGRAM, 0);
  sock_filter none[] = {{BPF_RET | BPF_K, 0, 0, 0}};
  sock_fprog program{1, none};
  ASSERT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
  bind_to_loopback(socket, ETH_P_IP);
  checkpoint_restore();
  say_something();
  char byte = 0;
  EXPECT_EQ(::recv(socket.get(), &byte, 1, MSG_DONTWAIT), -1);
}

}  // namespace
}  // namespace ncr
