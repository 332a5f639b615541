// See orphan_terminals.h. A place is written before the task that made the terminal counts itself
// as forked, and read after all have (engine/restore.cpp); no two tasks take the same.
#include "engine/resources/tty/orphan_terminals.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <utility>

namespace ncr::tty {

Result<OrphanTerminals> OrphanTerminals::create() {
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return Error::system(ENOMEM, "mmap of the list of terminals");
  return OrphanTerminals(new (memory) Shared{});
}

OrphanTerminals::OrphanTerminals(OrphanTerminals&& other) noexcept
    : shared_(std::exchange(other.shared_, nullptr)) {}

OrphanTerminals::~OrphanTerminals() {
  if (shared_ != nullptr) ::munmap(shared_, sizeof(Shared));
}

Result<> OrphanTerminals::add(size_t task, int number) const {
  const uint32_t at = shared_->count.fetch_add(1);
  if (at >= kMost)
    return Error::unsupported(
        strf("more than %zu terminals whose other end is outside the tree", kMost));
  shared_->places[at] = {task, number};
  return {};
}

Result<std::vector<Fd>> OrphanTerminals::fetch(const std::function<pid_t(size_t)>& pid_of) const {
  std::vector<Fd> masters;
  const size_t count = std::min<size_t>(shared_->count.load(), kMost);
  for (size_t i = 0; i < count; i++) {
    Fd process = TRY(sys::pidfd_open(pid_of(shared_->places[i].task)));
    masters.push_back(TRY(sys::pidfd_getfd(process, shared_->places[i].number)));
  }
  return masters;
}

}  // namespace ncr::tty
