// The bytes in a pipe are a ring of buffers, each a page at most. tee(2) copies references to them
// into a pipe of ours and takes nothing out, so a dump that fails has changed nothing. In packet
// mode (O_DIRECT) one write() is one packet and a short read() drops its rest: boundaries are part
// of the content. Whether a buffer is a packet shows only by reading one byte of a copy and looking
// how many went. Somebody outside the tree may read or write meanwhile: what one tee(2) gives is
// the content. dump_content runs in the engine, fill in the child.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/resources/pipe/pipe.h"
#include "engine/resources/status_flags.h"

namespace ncr::pipe {
namespace {

struct Copy {
  Fd read;
  Fd write;
  size_t bytes = 0;
};

Result<Copy> copy_of(const Fd& readable, int capacity, size_t bytes) {
  int ends[2];
  TRY(SYSCALL(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), "pipe2"));
  Copy copy{Fd(ends[0]), Fd(ends[1]), 0};
  TRY_WHILE(SYSCALL(::fcntl(ends[1], F_SETPIPE_SZ, capacity), "F_SETPIPE_SZ %d", capacity),
            "a pipe of ours as large as the one to copy (see /proc/sys/fs/pipe-max-size)");
  Result<ssize_t> copied = SYSCALL(::tee(readable.get(), ends[1], bytes, SPLICE_F_NONBLOCK), "tee");
  if (!copied.ok() && copied.error().os_error() == EAGAIN) return copy;  // all was read meanwhile
  copy.bytes = static_cast<size_t>(TRY(std::move(copied)));
  return copy;
}

Result<size_t> readable_bytes(const Fd& fd) {
  int bytes = 0;
  TRY(SYSCALL(::ioctl(fd.get(), FIONREAD, &bytes), "FIONREAD"));
  return static_cast<size_t>(bytes);
}

// Whether each chunk that read() gives is a packet: read of one byte takes all of it.
Result<bool> starts_with_packet(const Fd& read) {
  size_t before = TRY(readable_bytes(read));
  char byte = 0;
  TRY(sys::read_exact(read, &byte, 1));
  size_t after = TRY(readable_bytes(read));
  return before - after != 1;
}

Result<> take_chunks(const Fd& read, size_t total, schema::PipeContent* content) {
  std::string buffer(total, '\0');
  for (size_t taken = 0; taken < total;) {
    ssize_t got =
        TRY(SYSCALL(::read(read.get(), buffer.data(), buffer.size()), "read a copied pipe"));
    if (got == 0) break;
    taken += static_cast<size_t>(got);
    content->add_chunks()->set_data(buffer.data(), static_cast<size_t>(got));
  }
  return {};
}

}  // namespace

Result<> dump_content(const Fd& any_end, schema::PipeContent* content) {
  int capacity = TRY(SYSCALL(::fcntl(any_end.get(), F_GETPIPE_SZ), "F_GETPIPE_SZ"));
  content->set_capacity(static_cast<uint32_t>(capacity));
  const size_t total = TRY(readable_bytes(any_end));
  if (total == 0) return {};
  Fd readable = TRY(reopen(any_end, O_RDONLY | O_NONBLOCK));
  Copy copy = TRY(copy_of(readable, capacity, total));
  if (copy.bytes == 0) return {};
  Copy probe = TRY(copy_of(copy.read, capacity, copy.bytes));
  bool packets = TRY(starts_with_packet(probe.read));
  TRY(take_chunks(copy.read, copy.bytes, content));
  // read() goes on over buffers that are no packets, so several chunks mean packets.
  packets = packets || content->chunks_size() > 1;
  for (schema::PipeChunk& chunk : *content->mutable_chunks()) chunk.set_packet(packets);
  return {};
}

Result<> fill(const Fd& writable, const schema::PipeContent& content) {
  if (content.capacity() != 0)
    TRY(SYSCALL(::fcntl(writable.get(), F_SETPIPE_SZ, content.capacity()), "F_SETPIPE_SZ %u",
                content.capacity()));
  for (const schema::PipeChunk& chunk : content.chunks()) {
    TRY(set_status_flags(writable, O_NONBLOCK | (chunk.packet() ? O_DIRECT : 0)));
    TRY_WHILE(sys::write_all(writable, chunk.data().data(), chunk.data().size()),
              "put %zu bytes back into a pipe", chunk.data().size());
  }
  return {};
}

}  // namespace ncr::pipe
