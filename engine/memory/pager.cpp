// A missing page of a registered range stops whoever touches it until the pager has put one there
// (UFFDIO_COPY, UFFDIO_ZEROPAGE). fork, mremap, munmap and madvise stop likewise until the pager
// has read what they are about to do (Documentation/admin-guide/mm/userfaultfd.rst, non-cooperative
// userfaultfd); as long as one of them is under way a copy fails with EAGAIN, so that what the
// pager believes about an address space is true whenever a copy succeeds.
//
// A page that is there already (EEXIST) was delivered by somebody else; a range that is not
// registered any more (ENOENT) is not ours; an address space that is gone (ESRCH) wants nothing.
#include "engine/memory/pager.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "engine/memory/page_table.h"

namespace ncr {
namespace {

constexpr uint64_t kFeatures = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP |
                               UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP;
constexpr uint64_t kAroundFault = 64 << 10;  // bytes
constexpr uint64_t kAhead = 256 << 10;

int error_of(const Result<int>& result) { return result.ok() ? 0 : result.error().os_error(); }

void wake(const Fd& uffd, uint64_t address, uint64_t size) {
  uffdio_range range{address, size};
  (void)::ioctl(uffd.get(), UFFDIO_WAKE, &range);
}

// A page that is there would never be asked for, and would hide the one of the image.
Result<> check_missing(pid_t pid, const LazyTask& task) {
  RunSet pages;
  for (const schema::PageRun& run : task.runs)
    append(&pages, run.start(), run.start() + run.pages() * kPageSize);
  Fd pagemap = TRY(open_pagemap(pid));
  uint64_t there = 0;
  TRY(read_entries(pagemap, pages, [&](uint64_t address, PageEntry entry) {
    if (entry.present() || entry.swapped()) there = address;
  }));
  if (there == 0) return {};
  return Error(ErrorCode::kSystem, strf("page %llx of task %d was touched before it was served",
                                        static_cast<unsigned long long>(there), task.pid));
}

}  // namespace

Result<> begin_userfaultfd(const Fd& uffd) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kFeatures;
  TRY(SYSCALL(::ioctl(uffd.get(), UFFDIO_API, &api), "userfaultfd with events of processes"));
  return {};
}

bool has_noncooperative_userfaultfd() {
  Result<long> made = SYSCALL(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), "userfaultfd");
  return made.ok() && begin_userfaultfd(Fd(static_cast<int>(made.value()))).ok();
}

Result<> register_lazy(const Fd& uffd, pid_t pid, const LazyTask& task) {
  TRY(check_missing(pid, task));
  for (const AddressRun& range : task.ranges) {
    uffdio_register argument{};
    argument.range = {range.start, range.pages * kPageSize};
    argument.mode = UFFDIO_REGISTER_MODE_MISSING;
    TRY(SYSCALL(::ioctl(uffd.get(), UFFDIO_REGISTER, &argument),
                "register memory of task %d from %llx on", task.pid,
                static_cast<unsigned long long>(range.start)));
  }
  return check_missing(pid, task);
}

void Pager::add(Fd uffd, const LazyTask& task) {
  auto space = std::make_unique<Space>();
  space->uffd = std::move(uffd);
  for (const schema::PageRun& run : task.runs)
    space->pending.add(run.start(), run.start() + run.pages() * kPageSize, run.stored());
  spaces_.push_back(std::move(space));
}

bool Pager::busy() const {
  return std::any_of(spaces_.begin(), spaces_.end(),
                     [](const auto& space) { return !space->gone && !space->pending.empty(); });
}

Result<> Pager::run() {
  buffer_.resize(kAhead);
  while (busy()) {
    for (bool some = true; some;) {
      some = TRY(wait_for_events(false));
      for (size_t i = 0; i < spaces_.size(); i++) {
        if (some) TRY(read_events(*spaces_[i]));
        TRY(answer_faults(*spaces_[i]));
      }
    }
    // A space that is changing tells when it has changed.
    if (!TRY(prefetch())) TRY(wait_for_events(true));
  }
  return source_.finish();
}

// Whether somebody wants something.
Result<bool> Pager::wait_for_events(bool idle) {
  constexpr int kNapMs = 1;
  std::vector<pollfd> waits;
  for (const auto& space : spaces_) {
    waits.push_back({space->gone ? -1 : space->uffd.get(), POLLIN, 0});
  }
  const int ready = TRY(SYSCALL(::poll(waits.data(), waits.size(), idle ? kNapMs : 0), "poll"));
  return ready > 0;
}

Result<> Pager::read_events(Space& space) {
  while (!space.gone) {
    uffd_msg message;
    Result<ssize_t> got =
        SYSCALL(::read(space.uffd.get(), &message, sizeof message), "read a userfaultfd");
    if (!got.ok() && got.error().os_error() == EAGAIN) return {};
    if (TRY(std::move(got)) != sizeof message)
      return Error(ErrorCode::kSystem, "half a message of a userfaultfd");
    switch (message.event) {
      case UFFD_EVENT_PAGEFAULT:
        space.faults.push_back(page_floor(message.arg.pagefault.address));
        report_.faults++;
        break;
      case UFFD_EVENT_FORK:
        TRY(handle_fork(space, static_cast<int>(message.arg.fork.ufd)));
        break;
      case UFFD_EVENT_REMAP:
        space.pending.move(message.arg.remap.from, message.arg.remap.to, message.arg.remap.len);
        break;
      default:  // UFFD_EVENT_REMOVE, UFFD_EVENT_UNMAP
        space.pending.remove(message.arg.remove.start, message.arg.remove.end);
    }
  }
  return {};
}

Result<> Pager::handle_fork(Space& space, int uffd) {
  auto child = std::make_unique<Space>();
  child->uffd = Fd(uffd);
  child->pending = space.pending;
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  *rights = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
  std::memcpy(CMSG_DATA(rights), &uffd, sizeof uffd);
  // Without a guardian we go on: it was killed, and we are not.
  (void)SYSCALL(::sendmsg(guardian_, &message, MSG_NOSIGNAL), "tell the guardian");
  spaces_.push_back(std::move(child));
  return {};
}

Result<> Pager::answer_faults(Space& space) {
  while (!space.gone && !space.faults.empty()) {
    if (TRY(answer_fault(space, space.faults.front())) == Outcome::kAgain) return {};
    space.faults.pop_front();
  }
  return {};
}

Result<Pager::Outcome> Pager::answer_fault(Space& space, uint64_t address) {
  std::optional<PendingPages::Run> run = space.pending.at(address, kAroundFault);
  if (!run) return zero(space, address);
  const Outcome outcome = TRY(deliver(space, *run));
  // Two threads that miss one page are two faults; the copy wakes both, and a page that was there
  // before wakes nobody.
  if (outcome == Outcome::kDone) wake(space.uffd, address, kPageSize);
  return outcome;
}

Result<Pager::Outcome> Pager::zero(Space& space, uint64_t address) {
  uffdio_zeropage argument{};
  argument.range = {address, kPageSize};
  Result<int> done =
      SYSCALL(::ioctl(space.uffd.get(), UFFDIO_ZEROPAGE, &argument), "put a page of zeroes at %llx",
              static_cast<unsigned long long>(address));
  switch (error_of(done)) {
    case 0:
      report_.pages_zero++;
      return Outcome::kDone;
    case EAGAIN:
      return Outcome::kAgain;
    case EEXIST:
    case ENOENT:
      wake(space.uffd, address, kPageSize);
      return Outcome::kDone;
    case ESRCH:
    case ENOSPC:
      space.gone = true;
      return Outcome::kDone;
    default:
      return done.take_error();
  }
}

Result<Pager::Outcome> Pager::deliver(Space& space, const PendingPages::Run& run) {
  const uint64_t size = run.end - run.start;
  TRY(source_.read(buffer_.data(), size, run.stored));
  return copy(space, run.start, size);
}

// buffer_ to `to`. Page by page where one call does not do it: a mapping may have been cut in two.
Result<Pager::Outcome> Pager::copy(Space& space, uint64_t to, uint64_t size) {
  uint64_t step = size;
  for (uint64_t done = 0; done < size;) {
    uffdio_copy argument{};
    argument.dst = to + done;
    argument.src = reinterpret_cast<uint64_t>(buffer_.data()) + done;
    argument.len = std::min(step, size - done);
    Result<int> copied = SYSCALL(::ioctl(space.uffd.get(), UFFDIO_COPY, &argument),
                                 "put pages at %llx", static_cast<unsigned long long>(to + done));
    uint64_t delivered = argument.copy > 0 ? static_cast<uint64_t>(argument.copy) : 0;
    const int error = error_of(copied);
    report_.pages_copied += delivered / kPageSize;
    if (error == ESRCH || error == ENOSPC) {
      space.gone = true;
      return Outcome::kDone;
    }
    if (error != 0 && error != EAGAIN && error != EEXIST && error != ENOENT)
      return copied.take_error();
    if (delivered == 0 && (error == EEXIST || error == ENOENT)) {
      // One page at a time finds the one that is there, or not ours.
      if (step == kPageSize) delivered = kPageSize;
      step = kPageSize;
    }
    space.pending.remove(to + done, to + done + delivered);
    done += delivered;
    if (error == EAGAIN && delivered == 0) return Outcome::kAgain;
  }
  return Outcome::kDone;
}

// The next pages that nobody has asked for yet; false if all spaces that want some are changing.
Result<bool> Pager::prefetch() {
  for (size_t tries = 0; tries < spaces_.size(); tries++) {
    Space& space = *spaces_[next_space_++ % spaces_.size()];
    if (space.gone) continue;
    std::optional<PendingPages::Run> run = space.pending.next(space.prefetched, kAhead);
    if (!run) continue;
    if (TRY(deliver(space, *run)) == Outcome::kAgain) continue;
    space.prefetched = run->end;
    return true;
  }
  return false;
}

}  // namespace ncr
