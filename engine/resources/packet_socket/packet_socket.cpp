// A packet socket takes frames from links before any protocol does (struct packet_sock): one link
// or all, one kind of frame or all, filtered by a program of its own. Rings that it shares with the
// program, the groups it has joined on links and its fan-out group are told by NETLINK_SOCK_DIAG
// (packet_diag), the rest by getsockopt(2). Frames that wait to be read are lost, as packet(7)
// allows; rings that are mapped are looked at in ring_mapping.cpp. The filter is set before the
// socket is bound, so that nothing else slips in. dump runs in the engine, open in the child.
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/packet_diag.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <sys/socket.h>

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "engine/base/netlink.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/room.h"
#include "engine/resources/socket_options.h"
#include "engine/resources/status_flags.h"

namespace ncr::packet_socket {
namespace {

constexpr SocketOptionName kOptions[] = {
    {SOL_PACKET, PACKET_VERSION, "PACKET_VERSION"},
    {SOL_PACKET, PACKET_RESERVE, "PACKET_RESERVE"},
    {SOL_PACKET, PACKET_AUXDATA, "PACKET_AUXDATA"},
    {SOL_PACKET, PACKET_ORIGDEV, "PACKET_ORIGDEV"},
    {SOL_PACKET, PACKET_VNET_HDR, "PACKET_VNET_HDR"},
    {SOL_PACKET, PACKET_LOSS, "PACKET_LOSS"},
    {SOL_PACKET, PACKET_TIMESTAMP, "PACKET_TIMESTAMP"},
    {SOL_PACKET, PACKET_TX_HAS_OFF, "PACKET_TX_HAS_OFF"},
    {SOL_PACKET, PACKET_QDISC_BYPASS, "PACKET_QDISC_BYPASS"},
    {SOL_PACKET, 23, "PACKET_IGNORE_OUTGOING"},
    {SOL_PACKET, 24, "PACKET_VNET_HDR_SZ"},
};

// struct packet_mreq with room for every kind of address.
struct Membership {
  int interface;
  unsigned short type;
  unsigned short size;
  unsigned char address[32];
};

bool recognises(const FdProbe& probe) {
  if (!S_ISSOCK(probe.stat.st_mode)) return false;
  Result<int> domain = get_int_option(probe.local, SOL_SOCKET, SO_DOMAIN, "SO_DOMAIN");
  return domain.ok() && domain.value() == AF_PACKET;
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  SocketOptions filter;
  Result<> readable = read_socket_filter(probe.local, &filter);
  if (!readable.ok())
    blockers.add(*probe.task, strf("fd %d: packet socket", raw(probe.number)),
                 readable.error().text(), "detach the filter (SO_DETACH_FILTER) before the dump");
  return {};
}

// The kernel answers for all packet sockets of the namespace at once.
Result<netlink::Reply> ask(const Fd& socket, uint64_t inode) {
  packet_diag_req question{};
  question.sdiag_family = AF_PACKET;
  question.pdiag_show =
      PACKET_SHOW_INFO | PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG | PACKET_SHOW_FANOUT;
  netlink::Socket diag = TRY(netlink::Socket::open_beside(socket, NETLINK_SOCK_DIAG));
  netlink::Request request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
  request.header(question);
  std::vector<netlink::Reply> replies = TRY(diag.list(request, "packet sockets"));
  for (netlink::Reply& reply : replies)
    if (reply.header<packet_diag_msg>().pdiag_ino == static_cast<uint32_t>(inode))
      return std::move(reply);
  return Error::gone("the kernel does not tell of this packet socket (packet_diag)");
}

void read_memberships(std::string_view bytes, schema::PacketSocket* out) {
  for (; bytes.size() >= sizeof(packet_diag_mclist);
       bytes.remove_prefix(sizeof(packet_diag_mclist))) {
    packet_diag_mclist entry;
    memcpy(&entry, bytes.data(), sizeof entry);
    schema::PacketMembership* member = out->add_memberships();
    member->set_interface(static_cast<int32_t>(entry.pdmc_index));
    member->set_type(entry.pdmc_type);
    member->set_count(entry.pdmc_count);
    member->set_address(entry.pdmc_addr, std::min<size_t>(entry.pdmc_alen, sizeof entry.pdmc_addr));
  }
}

void read_ring(std::string_view bytes, schema::PacketRing* out) {
  packet_diag_ring ring{};
  memcpy(&ring, bytes.data(), std::min(bytes.size(), sizeof ring));
  out->set_block_size(ring.pdr_block_size);
  out->set_block_count(ring.pdr_block_nr);
  out->set_frame_size(ring.pdr_frame_size);
  out->set_frame_count(ring.pdr_frame_nr);
  out->set_block_timeout(ring.pdr_retire_tmo);
  out->set_private_size(ring.pdr_sizeof_priv);
  out->set_features(ring.pdr_features);
}

Result<> read_diag(const Fd& socket, schema::PacketSocket* out) {
  const netlink::Reply reply = TRY(ask(socket, out->inode()));
  const auto message = reply.header<packet_diag_msg>();
  out->set_protocol(htons(message.pdiag_num));
  netlink::Attributes attributes(reply.attributes(sizeof message));
  for (netlink::Attribute attribute; attributes.next(&attribute);) {
    if (attribute.type == PACKET_DIAG_INFO && attribute.value.size() >= sizeof(packet_diag_info)) {
      packet_diag_info info;
      memcpy(&info, attribute.value.data(), sizeof info);
      out->set_interface(static_cast<int32_t>(info.pdi_index));
    }
    if (attribute.type == PACKET_DIAG_MCLIST) read_memberships(attribute.value, out);
    if (attribute.type == PACKET_DIAG_RX_RING)
      read_ring(attribute.value, out->mutable_receive_ring());
    if (attribute.type == PACKET_DIAG_TX_RING) read_ring(attribute.value, out->mutable_send_ring());
    if (attribute.type == PACKET_DIAG_FANOUT) out->set_fanout(attribute.u32());
    out->set_in_fanout(out->in_fanout() || attribute.type == PACKET_DIAG_FANOUT);
  }
  return {};
}

Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  schema::PacketSocket* out = record->mutable_packet_socket();
  out->set_inode(probe.stat.st_ino);
  out->set_type(
      static_cast<uint32_t>(TRY(get_int_option(probe.local, SOL_SOCKET, SO_TYPE, "SO_TYPE"))));
  TRY(read_diag(probe.local, out));
  if (out->type() == SOCK_PACKET) {
    sockaddr name{};
    socklen_t size = sizeof name;
    TRY(SYSCALL(::getsockname(probe.local.get(), &name, &size), "getsockname"));
    out->set_interface_name(name.sa_data, ::strnlen(name.sa_data, sizeof name.sa_data));
  }
  TRY(read_socket_options(probe.local, common_socket_options(), out->mutable_options()));
  TRY(read_socket_options(probe.local, kOptions, out->mutable_options()));
  return read_socket_filter(probe.local, out->mutable_options());
}

Result<> set_ring(const Fd& fd, int option, const schema::PacketRing& ring) {
  if (ring.block_count() == 0) return {};
  tpacket_req3 request{};
  request.tp_block_size = ring.block_size();
  request.tp_block_nr = ring.block_count();
  request.tp_frame_size = ring.frame_size();
  request.tp_frame_nr = ring.frame_count();
  request.tp_retire_blk_tov = ring.block_timeout();
  request.tp_sizeof_priv = ring.private_size();
  request.tp_feature_req_word = ring.features();
  const int version = TRY(get_int_option(fd, SOL_PACKET, PACKET_VERSION, "PACKET_VERSION"));
  const size_t size = version == TPACKET_V3 ? sizeof(tpacket_req3) : sizeof(tpacket_req);
  TRY(SYSCALL(::setsockopt(fd.get(), SOL_PACKET, option, &request, static_cast<socklen_t>(size)),
              "the ring of a packet socket"));
  return {};
}

Result<> join(const Fd& fd, const schema::PacketMembership& record) {
  Membership member{};
  if (record.address().size() > sizeof member.address)
    return Error::malformed("the address of a packet membership is too long");
  member.interface = record.interface();
  member.type = static_cast<unsigned short>(record.type());
  member.size = static_cast<unsigned short>(record.address().size());
  memcpy(member.address, record.address().data(), record.address().size());
  constexpr uint32_t kMost = 1000;
  for (uint32_t i = 0; i < std::min(record.count(), kMost); i++)
    TRY(SYSCALL(::setsockopt(fd.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &member, sizeof member),
                "PACKET_ADD_MEMBERSHIP on link %d", record.interface()));
  return {};
}

Result<> bind_by_name(const Fd& fd, const schema::PacketSocket& socket) {
  if (socket.interface_name().empty()) return {};
  sockaddr name{};
  name.sa_family = AF_PACKET;
  memcpy(name.sa_data, socket.interface_name().data(),
         std::min(socket.interface_name().size(), sizeof name.sa_data - 1));
  TRY(SYSCALL(::bind(fd.get(), &name, sizeof name), "bind a packet socket to %s", name.sa_data));
  return {};
}

Result<> bind_to(const Fd& fd, const schema::PacketSocket& socket) {
  if (socket.type() == SOCK_PACKET) return bind_by_name(fd, socket);
  if (socket.interface() == 0 && socket.protocol() == 0) return {};
  sockaddr_ll name{};
  name.sll_family = AF_PACKET;
  name.sll_protocol = static_cast<unsigned short>(socket.protocol());
  name.sll_ifindex = socket.interface();
  TRY(SYSCALL(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name),
              "bind a packet socket to link %d", socket.interface()));
  return {};
}

Result<Fd> open(FileRestorer&, const schema::OpenFile& record) {
  const schema::PacketSocket& socket = record.packet_socket();
  const bool named = socket.type() == SOCK_PACKET;  // takes its protocol from here alone
  Fd fd(TRY(SYSCALL(::socket(AF_PACKET, static_cast<int>(socket.type()) | SOCK_CLOEXEC,
                             named ? static_cast<int>(socket.protocol()) : 0),
                    "packet socket")));
  TRY(set_socket_options(fd, socket.options()));
  TRY(set_ring(fd, PACKET_RX_RING, socket.receive_ring()));
  TRY(set_ring(fd, PACKET_TX_RING, socket.send_ring()));
  TRY(bind_to(fd, socket));
  for (const schema::PacketMembership& member : socket.memberships()) TRY(join(fd, member));
  if (socket.in_fanout())
    TRY(set_int_option(fd, SOL_PACKET, PACKET_FANOUT, static_cast<int>(socket.fanout()),
                       "PACKET_FANOUT"));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace

extern const FdRoom kRoom = {.name = "packet_socket",
                             .kind = schema::OpenFile::kPacketSocket,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .open = open};

}  // namespace ncr::packet_socket
