// restorer: makes a context, moves its ring to where the program knows it, and brings it to the
// state it had. How far the ring has been filled the kernel keeps to itself (kioctx.tail), and
// counts by completed requests alone: so as many are made and completed, reads of nothing from a
// file of ours. Slots are given back as head passes them (refill_reqs_available), so the unread
// events must be completed while head stands where it is to be.
#include <asm-generic/errno-base.h>
#include <asm-generic/errno.h>
#include <linux/aio_abi.h>
#include <linux/memfd.h>
#include <linux/mman.h>

#include "engine/resources/aio_ring/aio_ring.h"
#include "pie/memory.h"
#include "pie/syscall.h"

namespace ncr::aio_ring {
namespace {

constexpr uint32_t kAtOnce = 32;

Header* header_of(uint64_t address) { return reinterpret_cast<Header*>(address); }

Event* event_of(uint64_t address, uint32_t index) {
  return reinterpret_cast<Event*>(address + sizeof(Header)) + index;
}

// `keeps`: the value of head all the while; kFollows: head goes along with tail.
constexpr uint32_t kFollows = ~0u;
pie::Ret complete(uint64_t ring, long fd, uint32_t count, uint32_t keeps) {
  iocb request{};
  request.aio_lio_opcode = IOCB_CMD_PREAD;
  request.aio_fildes = static_cast<uint32_t>(fd);
  iocb* requests[kAtOnce];
  for (iocb*& each : requests) each = &request;
  Header* header = header_of(ring);
  while (count != 0) {
    if (keeps != kFollows) header->head = keeps;
    pie::Ret ret = pie::sys(__NR_io_submit, ring, count < kAtOnce ? count : kAtOnce, &requests[0]);
    if (!ret.ok()) return ret;
    count -= static_cast<uint32_t>(ret.raw());
    if (keeps == kFollows) header->head = *static_cast<volatile uint32_t*>(&header->tail);
  }
  return pie::Ret::success();
}

// From 0 to head, and on to tail.
pie::Ret advance(const Make& step) {
  const uint32_t nr = header_of(step.place.address)->nr;
  const uint32_t unread = (step.tail + nr - step.head) % nr;
  if (step.head == 0 && unread == 0) return pie::Ret::success();
  const char name[] = "aio";
  pie::Ret file = pie::sys(__NR_memfd_create, &name[0], MFD_CLOEXEC);
  if (!file.ok()) return file;
  pie::Ret ret = complete(step.place.address, file.raw(), step.head, kFollows);
  if (ret.ok()) ret = complete(step.place.address, file.raw(), unread, step.head);
  (void)pie::sys(__NR_close, file.raw());
  return ret;
}

pie::Ret finish(const Place& place) {
  const uint64_t size = uint64_t{place.pages} * kPage;
  pie::Ret ret = pie::Ret::success();
  if (place.dont_fork != 0) ret = pie::sys(__NR_madvise, place.address, size, MADV_DONTFORK);
  if (ret.ok() && place.dont_dump != 0)
    ret = pie::sys(__NR_madvise, place.address, size, MADV_DONTDUMP);
  if (ret.ok() && place.prot != (PROT_READ | PROT_WRITE))
    ret = pie::sys(__NR_mprotect, place.address, size, place.prot);
  return ret;
}

pie::Ret occupy(const Place& place, uint32_t prot) {
  return pie::sys(__NR_mmap, place.address, uint64_t{place.pages} * kPage, prot,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

}  // namespace

pie::Ret run(const Make& step) {
  const uint64_t size = uint64_t{step.place.pages} * kPage;
  // Otherwise the kernel may choose a place that overlaps the right one, from where it cannot be
  // moved.
  pie::Ret ret = occupy(step.place, PROT_NONE);
  if (!ret.ok()) return ret;
  uint64_t context = 0;
  ret = pie::sys(__NR_io_setup, requests_for(step.place.pages), &context);
  if (!ret.ok()) return ret;
  if (header_of(context)->nr != events_in(step.place.pages)) return pie::Ret(-EMSGSIZE);
  ret =
      pie::sys(__NR_mremap, context, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, step.place.address);
  if (!ret.ok()) return ret;
  ret = advance(step);
  if (!ret.ok()) return ret;
  Header* header = header_of(step.place.address);
  if (header->tail != step.tail) return pie::Ret(-EPROTO);
  const auto* events = reinterpret_cast<const Event*>(&step + 1);
  for (uint32_t at = step.head; at != step.tail; at = (at + 1) % header->nr)
    *event_of(step.place.address, at) = *events++;
  header->head = step.head;
  return finish(step.place);
}

pie::Ret run(const LeaveBehind& step) {
  pie::Ret ret = occupy(step.place, PROT_READ | PROT_WRITE);
  if (!ret.ok()) return ret;
  *header_of(step.place.address) = *reinterpret_cast<const Header*>(&step + 1);
  return finish(step.place);
}

}  // namespace ncr::aio_ring
