// Terminals whose other end was outside the tree and is made by it at restore, for the caller
// (RestoreRequest::orphan_pts_master). The task that makes one says where it has it; the
// coordinator fetches it while every task still has what it opened.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "engine/base/sys.h"

namespace ncr::tty {

// Memory that the coordinator shares with every task being born.
class [[nodiscard]] OrphanTerminals {
 public:
  static Result<OrphanTerminals> create();
  OrphanTerminals(OrphanTerminals&& other) noexcept;
  OrphanTerminals& operator=(OrphanTerminals&&) = delete;
  ~OrphanTerminals();

  // Child: the task at this index of the plan has a master at this number until it installs its
  // files.
  Result<> add(size_t task, int number) const;

  // Coordinator: a duplicate of each. `pid_of` tells the process number of a task.
  Result<std::vector<Fd>> fetch(const std::function<pid_t(size_t)>& pid_of) const;

 private:
  struct Place {
    size_t task;
    int number;
  };
  static constexpr size_t kMost = 64;
  struct Shared {
    std::atomic<uint32_t> count;
    Place places[kMost];
  };
  explicit OrphanTerminals(Shared* shared) : shared_(shared) {}
  Shared* shared_ = nullptr;
};

}  // namespace ncr::tty
