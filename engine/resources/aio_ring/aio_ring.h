// What the halves of aio_ring share.
#pragma once

#include "pie/steps.h"

namespace ncr::aio_ring {

// The kernel's own, at the start of the mapping (fs/aio.c); 128 events fill a page, and the header
// takes the place of one.
struct Header {
  uint32_t id;  // in the table of the process: the kernel's own business
  uint32_t nr;
  uint32_t head;
  uint32_t tail;
  uint32_t magic;
  uint32_t compat_features;
  uint32_t incompat_features;
  uint32_t header_length;
};
static_assert(sizeof(Header) == 32);

struct Event {
  uint64_t data;
  uint64_t object;
  int64_t result;
  int64_t result2;
};
static_assert(sizeof(Event) == sizeof(Header));

constexpr uint32_t kMagic = 0xa10a10a1;
constexpr uint32_t kPage = 4096;
constexpr uint32_t kEventsPerPage = kPage / sizeof(Event);
constexpr uint32_t kMostPages = 0x10000000 / kPage;  // of a ring: fs/aio.c, ioctx_alloc()

constexpr uint32_t events_in(uint32_t pages) { return pages * kEventsPerPage - 1; }

// The smallest number for io_setup(2) that gives a ring of so many pages: the kernel doubles it and
// adds two (ioctx_alloc, aio_setup_ring). The smallest, for it counts against fs.aio-max-nr.
constexpr uint32_t requests_for(uint32_t pages) {
  return pages <= 1 ? 1 : (pages - 1) * (kEventsPerPage / 2) - 1;
}

constexpr uint32_t kMaxRings = 128;  // of one process: what one question can hold

// Which of these rings have a context of this process behind them.
struct Probe {
  static constexpr uint32_t kId = wire::id("aio_ring.Probe");
  struct Request {
    uint32_t count;
    uint32_t pad;
    uint64_t addresses[kMaxRings];
  };
  struct Reply {
    uint32_t answers[kMaxRings];  // 1: has a context
  };
};

struct Place {
  uint64_t address;
  uint32_t pages;
  uint32_t prot;
  uint32_t dont_fork;  // madvise(2)
  uint32_t dont_dump;
};

// Followed by the events from head to tail.
struct Make {
  static constexpr uint32_t kId = wire::id("aio_ring.Make");
  Place place;
  uint32_t head;
  uint32_t tail;
};

// Memory that looks like a ring. Followed by its Header.
struct LeaveBehind {
  static constexpr uint32_t kId = wire::id("aio_ring.LeaveBehind");
  Place place;
};

}  // namespace ncr::aio_ring
