// A context of asynchronous I/O (struct kioctx, io_setup(2)): a ring of completed requests, mapped
// into the process, whose address is the context's name, and which the kernel and the program read
// and write both. What is in the ring is seen; which requests are under way is not. They go on
// while the tree stands still, and write into its memory, so a dump waits until the rings have
// been still for a while. A request that waits for something longer than that (IOCB_CMD_POLL) is
// lost.
//
// A child of fork(2) inherits the mapping, but not the context. Only the kernel can make a ring, so
// the restorer calls io_setup(2) and moves the mapping: the kernel takes its new address for the
// context's name (aio_ring_mremap).
#include "engine/resources/aio_ring/aio_ring.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstring>

#include "engine/resources/aio_ring/aio_settle.h"
#include "engine/resources/room.h"
#include "engine/tracee/remote_memory.h"

namespace ncr::aio_ring {
namespace {

std::string name_of(uint64_t address) {
  return strf("the ring of an asynchronous I/O context at %" PRIx64, address);
}

Result<Header> read_header(pid_t pid, uint64_t address) {
  Header header{};
  TRY_WHILE(read_remote(pid, {address}, &header, sizeof header), "%s", name_of(address).c_str());
  return header;
}

uint32_t pages_of(const schema::Vma& vma) {
  return static_cast<uint32_t>((vma.end() - vma.start()) / kPage);
}

Result<> look_mapped(const Task& task, schema::Task* record) {
  for (const schema::Vma& vma : record->memory().vmas()) {
    if (vma.kind() != schema::VMA_AIO) continue;
    const Header header = TRY(read_header(task.pid, vma.start()));
    const bool whole = vma.file_offset() == 0 && header.magic == kMagic &&
                       header.nr == events_in(pages_of(vma)) &&
                       header.header_length == sizeof header;
    if (!whole)
      return Error::unsupported(name_of(vma.start()) +
                                " has been cut into pieces or written to by the program");
    schema::AioRing* ring = record->add_aio_rings();
    ring->set_address(vma.start());
    ring->set_header(&header, sizeof header);
  }
  if (record->aio_rings_size() > static_cast<int>(kMaxRings))
    return Error::unsupported(
        strf("more than %u contexts of asynchronous I/O in one process", kMaxRings));
  return {};
}

void ask(const Task&, const schema::Task& record, Batch& batch) {
  if (record.aio_rings().empty()) return;
  Probe::Request request{};
  for (const schema::AioRing& ring : record.aio_rings())
    request.addresses[request.count++] = ring.address();
  batch.ask<Probe>(request);
}

Result<> read(const Task&, const Batch& batch, schema::Task* record) {
  if (record->aio_rings().empty()) return {};
  int error = 0;
  const Probe::Reply* reply = batch.find<Probe>(&error);
  if (reply == nullptr) return Error::system(error, "io_getevents in the target");
  const uint32_t* answer = reply->answers;
  for (schema::AioRing& ring : *record->mutable_aio_rings()) {
    ring.set_left_behind(*answer++ == 0);
    if (!ring.left_behind()) ring.clear_header();
    if (ring.left_behind()) ring.clear_events();
  }
  return {};
}

const schema::Vma* mapping_of(const schema::Task& record, uint64_t address) {
  for (const schema::Vma& vma : record.memory().vmas())
    if (vma.kind() == schema::VMA_AIO && vma.start() == address) return &vma;
  return nullptr;
}

bool has_advice(const schema::Vma& vma, uint32_t advice) {
  return std::find(vma.advice().begin(), vma.advice().end(), advice) != vma.advice().end();
}

Error malformed(const schema::Task& record, const schema::AioRing& ring) {
  return Error::malformed(
      strf("task %d: %s is not possible", record.pid(), name_of(ring.address()).c_str()));
}

bool is_possible(const schema::AioRing& ring, const schema::Vma* vma) {
  if (vma == nullptr || pages_of(*vma) == 0 || pages_of(*vma) > kMostPages) return false;
  if (ring.left_behind()) return ring.header().size() == sizeof(Header);
  const uint32_t nr = events_in(pages_of(*vma));
  return ring.head() < nr && ring.tail() < nr &&
         ring.events().size() == (ring.tail() + nr - ring.head()) % nr * sizeof(Event);
}

Result<> plan(const schema::Task& record, StepList& steps) {
  const auto mappings =
      std::count_if(record.memory().vmas().begin(), record.memory().vmas().end(),
                    [](const schema::Vma& vma) { return vma.kind() == schema::VMA_AIO; });
  if (mappings != record.aio_rings_size())
    return Error::malformed(strf("task %d: %d rings of asynchronous I/O for %d mappings",
                                 record.pid(), record.aio_rings_size(),
                                 static_cast<int>(mappings)));
  for (const schema::AioRing& ring : record.aio_rings()) {
    const schema::Vma* vma = mapping_of(record, ring.address());
    if (!is_possible(ring, vma)) return malformed(record, ring);
    const Place place{.address = ring.address(),
                      .pages = pages_of(*vma),
                      .prot = vma->prot(),
                      .dont_fork = has_advice(*vma, MADV_DONTFORK) ? 1u : 0u,
                      .dont_dump = has_advice(*vma, MADV_DONTDUMP) ? 1u : 0u};
    if (ring.left_behind())
      steps.add(wire::Stage::kMemory, LeaveBehind{place}, ring.header());
    else
      steps.add(wire::Stage::kMemory, Make{place, ring.head(), ring.tail()}, ring.events());
  }
  return {};
}

// ---- A dump waits

constexpr uint64_t kStillNs = 20'000'000;
constexpr useconds_t kNapUs = 1000;

uint32_t capacity(const schema::AioRing& ring) {
  Header header{};
  memcpy(&header, ring.header().data(), sizeof header);
  return header.nr;
}

Result<bool> note_tails(const std::vector<Task>& tasks, std::vector<schema::Task>* records) {
  bool moved = false;
  for (size_t i = 0; i < tasks.size(); i++)
    for (schema::AioRing& ring : *(*records)[i].mutable_aio_rings()) {
      const Header header = TRY(read_header(tasks[i].pid, ring.address()));
      moved |= header.tail % capacity(ring) != ring.tail();
      ring.set_tail(header.tail % capacity(ring));
      ring.set_head(header.head % capacity(ring));
    }
  return moved;
}

Result<> take_events(pid_t pid, schema::AioRing* ring) {
  const uint32_t nr = capacity(*ring);
  const uint32_t first = ring->head();
  const uint32_t unread = (ring->tail() + nr - first) % nr;
  const uint32_t before_end = std::min(unread, nr - first);
  std::string events(unread * sizeof(Event), '\0');
  const uint64_t start = ring->address() + sizeof(Header);
  TRY(read_remote(pid, {start + first * sizeof(Event)}, events.data(), before_end * sizeof(Event)));
  TRY(read_remote(pid, {start}, events.data() + before_end * sizeof(Event),
                  (unread - before_end) * sizeof(Event)));
  ring->set_events(std::move(events));
  return {};
}

// ---- Restore

// "0-3", "0,2-5": one more than the highest number.
uint32_t count_possible_cpus(std::string_view text) {
  const size_t last = text.find_last_of("-,");
  if (last != std::string_view::npos) text.remove_prefix(last + 1);
  uint32_t highest = 0;
  std::from_chars(text.data(), text.data() + text.size(), highest);
  return highest + 1;
}

}  // namespace

uint32_t smallest_ring(std::string_view possible_cpus) {
  const uint32_t events = 2 * 4 * count_possible_cpus(possible_cpus) + 2;
  return events / kEventsPerPage + 1;
}

Result<> settle(const std::vector<Task>& tasks, std::vector<schema::Task>* records,
                const DumpRequest& request) {
  const bool any = std::any_of(records->begin(), records->end(), [](const schema::Task& record) {
    return record.aio_rings_size() != 0;
  });
  if (!any) return {};
  const uint64_t begun = monotonic_ns();
  TRY(note_tails(tasks, records));
  for (uint64_t still = begun; monotonic_ns() - still < kStillNs;) {
    ::usleep(kNapUs);
    const bool moved = TRY(note_tails(tasks, records));
    if (!moved) continue;
    still = monotonic_ns();
    if (still - begun > request.freeze_timeout_ms * uint64_t{1'000'000})
      return Error::unsupported(
          strf("asynchronous I/O is still under way after %u ms", request.freeze_timeout_ms));
  }
  for (size_t i = 0; i < tasks.size(); i++)
    for (schema::AioRing& ring : *(*records)[i].mutable_aio_rings())
      TRY_WHILE(take_events(tasks[i].pid, &ring), "task %d: %s", tasks[i].pid,
                name_of(ring.address()).c_str());
  return {};
}

Result<> check_machine(const Image& image) {
  uint32_t smallest = 0;
  for (const schema::Task& record : image.tasks)
    for (const schema::AioRing& ring : record.aio_rings()) {
      if (ring.left_behind()) continue;
      if (smallest == 0)
        smallest = smallest_ring(TRY(sys::read_file("/sys/devices/system/cpu/possible")));
      const schema::Vma* vma = mapping_of(record, ring.address());
      if (vma == nullptr || pages_of(*vma) >= smallest) continue;
      return Error::unsupported(strf(
          "task %d: %s has %u pages, and none of this machine has less than %u, for it may have "
          "more CPUs: restore on one with as few as before (possible_cpus= in its command line)",
          record.pid(), name_of(ring.address()).c_str(), pages_of(*vma), smallest));
    }
  return {};
}

extern const TaskRoom kRoom = {
    .name = "aio_ring", .look_mapped = look_mapped, .ask = ask, .read = read, .plan = plan};

}  // namespace ncr::aio_ring
