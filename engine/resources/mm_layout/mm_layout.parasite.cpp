// parasite: the program break, and how new mappings are locked. The kernel takes MADV_DONTNEED on
// any page but a locked one; a page that is locked at once is also there at once.
#include <linux/mman.h>

#include "engine/resources/mm_layout/mm_layout.h"
#include "pie/syscall.h"

namespace ncr::mm_layout {

constexpr int kGetAuxv = 0x41555856;  // PR_GET_AUXV, Linux 6.4

pie::Ret handle(const Get::Request&, Get::Reply& reply) {
  reply.brk = static_cast<uint64_t>(pie::sys(__NR_brk, 0).raw());
  pie::Ret size = pie::sys(__NR_prctl, kGetAuxv, reply.auxv, sizeof reply.auxv, 0, 0);
  reply.auxv_size = size.ok() && size.raw() <= kAuxvSize ? static_cast<uint64_t>(size.raw()) : 0;
  return pie::Ret::success();
}

pie::Ret handle(const ProbeLockFuture::Request&, ProbeLockFuture::Reply& reply) {
  constexpr unsigned long kPage = 4096;
  reply.flags = 0;
  pie::Ret page = pie::sys(__NR_mmap, nullptr, kPage, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page.err() == 11 /* EAGAIN: RLIMIT_MEMLOCK would be exceeded, so it would be locked */) {
    reply.flags = MCL_FUTURE;
    return pie::Ret::success();
  }
  if (!page.ok()) return page;
  unsigned char present = 0;
  (void)pie::sys(__NR_mincore, page.raw(), kPage, &present);
  if (!pie::sys(__NR_madvise, page.raw(), kPage, MADV_DONTNEED).ok())
    reply.flags = (present & 1) != 0 ? MCL_FUTURE : MCL_FUTURE | MCL_ONFAULT;
  return pie::sys(__NR_munmap, page.raw(), kPage);
}

}  // namespace ncr::mm_layout
