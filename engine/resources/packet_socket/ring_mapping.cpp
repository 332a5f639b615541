// See ring_mapping.h. mmap(2) of a packet socket shows both its rings, the one for receiving first
// (packet_mmap, net/packet/af_packet.c); like any mapped file it is mapped again from its
// descriptor. Where in a ring the kernel goes on it tells nobody, and a new ring begins at its
// start, while the program goes on where it was: so a ring that has been used cannot come back.
#include "engine/resources/packet_socket/ring_mapping.h"

#include <linux/if_packet.h>
#include <sys/socket.h>

#include <cstring>

#include "engine/resources/fdinfo.h"
#include "engine/tracee/remote_memory.h"

namespace ncr::packet_socket {
namespace {

uint64_t size_of(const schema::PacketRing& ring) {
  return uint64_t{ring.block_size()} * ring.block_count();
}

int version_of(const schema::PacketSocket& socket) {
  for (const schema::SocketOption& option : socket.options()) {
    int value = 0;
    if (option.level() != SOL_PACKET || option.name() != PACKET_VERSION) continue;
    memcpy(&value, option.value().data(), std::min(sizeof value, option.value().size()));
    return value;
  }
  return TPACKET_V1;
}

// From `at` on; zeros where there is nothing.
template <class T>
T read(std::string_view content, uint64_t at) {
  T value{};
  if (at + sizeof value <= content.size()) memcpy(&value, content.data() + at, sizeof value);
  return value;
}

template <class Header>
bool has_used_frame(const schema::PacketRing& ring, std::string_view content) {
  if (ring.frame_size() == 0) return false;
  for (uint64_t block = 0; block < ring.block_count(); block++)
    for (uint64_t at = 0; at + ring.frame_size() <= ring.block_size(); at += ring.frame_size()) {
      const auto header = read<Header>(content, block * ring.block_size() + at);
      if (header.tp_status != 0 || header.tp_len != 0) return true;
    }
  return false;
}

bool has_used_block(const schema::PacketRing& ring, std::string_view content) {
  for (uint64_t block = 0; block < ring.block_count(); block++) {
    const auto header = read<tpacket_block_desc>(content, block * ring.block_size()).hdr.bh1;
    if (header.block_status != 0 || header.num_pkts != 0 || (block > 0 && header.seq_num != 0))
      return true;
  }
  return false;
}

}  // namespace

bool is_mapping(const VmaLine& line) { return line.path.starts_with("socket:["); }

bool has_been_used(const schema::PacketSocket& socket, std::string_view content) {
  const auto& in = socket.receive_ring();
  const auto& out = socket.send_ring();
  const std::string_view sent = content.substr(std::min(size_of(in), content.size()));
  switch (version_of(socket)) {
    case TPACKET_V1:
      return has_used_frame<tpacket_hdr>(in, content) || has_used_frame<tpacket_hdr>(out, sent);
    case TPACKET_V2:
      return has_used_frame<tpacket2_hdr>(in, content) || has_used_frame<tpacket2_hdr>(out, sent);
    default:
      return has_used_block(in, content) || has_used_frame<tpacket3_hdr>(out, sent);
  }
}

Result<uint32_t> look(const Task& task, const VmaLine& line, const FileTable& files,
                      Blockers& blockers) {
  auto block = [&](const char* reason, const char* way_out) {
    blockers.add(task,
                 strf("mapping %llx of %s", static_cast<unsigned long long>(line.vma.start()),
                      line.path.c_str()),
                 reason, way_out);
    return uint32_t{0};
  };
  const uint32_t id = TRY(files.find(kernel_device(line.device), line.inode,
                                     [](pid_t, int) -> Result<bool> { return true; }));
  const schema::OpenFile* file = id == 0 ? nullptr : files.records()[id - 1];
  if (file == nullptr || !file->has_packet_socket())
    return block("it shows what the kernel keeps of a socket that no descriptor here leads to",
                 "unmap it before the dump");
  const schema::PacketSocket& socket = file->packet_socket();
  const uint64_t size = line.vma.end() - line.vma.start();
  if (size != size_of(socket.receive_ring()) + size_of(socket.send_ring()))
    return block("it is a part of the rings of a packet socket", "unmap it before the dump");
  std::string content(size, '\0');
  TRY(read_remote(task.pid, RemoteAddress{line.vma.start()}, content.data(), content.size()));
  if (has_been_used(socket, content))
    return block(
        "a ring of a packet socket is in use, and how far the kernel is in it cannot be seen",
        "stop the capture before the dump, or let it read without a ring");
  return id;
}

}  // namespace ncr::packet_socket
