// A process of ours beside the tree's: for what cannot be undone in a task that is being born.
#pragma once

#include <sys/types.h>

#include <functional>

#include "engine/base/fd.h"
#include "engine/base/result.h"

namespace ncr {

class [[nodiscard]] SideProcess {
 public:
  enum class Table { kShared, kCopied };  // of descriptors
  enum class End { kQuiet, kSignal };     // SIGCHLD, also of those that it makes our children

  static Result<SideProcess> start(Table table, const std::function<Result<>()>& work,
                                   End end = End::kQuiet);
  SideProcess(SideProcess&& other) noexcept;
  SideProcess(const SideProcess&) = delete;
  ~SideProcess();  // ends it
  // How its work went.
  Result<> finish();

 private:
  SideProcess(Fd outcome, Fd tell, pid_t pid)
      : outcome_(std::move(outcome)), tell_(std::move(tell)), pid_(pid) {}
  Fd outcome_;  // pipe
  Fd tell_;     // its other end, which may be the process's as well
  pid_t pid_ = 0;
};

// Starts one that shares our descriptors, and waits for it.
Result<> beside(const std::function<Result<>()>& work);

}  // namespace ncr
