// Serves the page faults of a restored tree over userfaultfd(2).
#pragma once

#include <sys/types.h>

#include <deque>
#include <memory>
#include <vector>

#include "engine/memory/lazy_ranges.h"
#include "engine/memory/page_source.h"
#include "engine/memory/pending_pages.h"

namespace ncr {

struct PagerReport {
  uint64_t faults = 0;
  uint64_t pages_copied = 0;
  uint64_t pages_zero = 0;  // that a fault asked for and the image does not have
};

// What of this kernel's userfaultfd a pager needs beyond faults: to be told of fork, mremap, munmap
// and madvise.
bool has_noncooperative_userfaultfd();

// Asks for these features on a fresh userfaultfd.
Result<> begin_userfaultfd(const Fd& uffd);
// From now on a missing page in `ranges` of that address space waits for the pager. Malformed: one
// of `runs` is there already; `pid` is whose they are.
Result<> register_lazy(const Fd& uffd, pid_t pid, const LazyTask& task);

class Pager {
 public:
  // New address spaces, made by fork(2), are passed to `guardian` as well (SCM_RIGHTS), so that
  // they do not lose their userfaultfd with us.
  Pager(const PageSource& source, int guardian) : source_(source), guardian_(guardian) {}

  // A registered one.
  void add(Fd uffd, const LazyTask& task);
  // Until every page is delivered. Events of processes are answered all the while.
  Result<> run();
  const PagerReport& report() const { return report_; }

 private:
  struct Space {
    Fd uffd;
    PendingPages pending;
    uint64_t prefetched = 0;      // up to where
    std::deque<uint64_t> faults;  // not answered yet
    bool gone = false;
  };
  enum class Outcome { kDone, kAgain };  // kAgain: the address space is changing, events come first

  Result<bool> wait_for_events(bool idle);
  Result<> read_events(Space& space);
  Result<> handle_fork(Space& space, int uffd);
  Result<> answer_faults(Space& space);
  Result<Outcome> answer_fault(Space& space, uint64_t address);
  Result<Outcome> zero(Space& space, uint64_t address);
  Result<Outcome> deliver(Space& space, const PendingPages::Run& run);
  Result<Outcome> copy(Space& space, uint64_t to, uint64_t size);
  Result<bool> prefetch();
  bool busy() const;

  const PageSource& source_;
  int guardian_;
  std::vector<std::unique_ptr<Space>> spaces_;
  size_t next_space_ = 0;
  std::vector<char> buffer_;
  PagerReport report_;
};

}  // namespace ncr
