// Who has come into being, and under which numbers: shared by the caller, the coordinator and every
// process of the tree.
#pragma once

#include <sys/types.h>

#include <unordered_map>

#include "engine/base/sys.h"

namespace ncr {

class [[nodiscard]] BirthRegister {
 public:
  // For `count` processes, by index of RestorePlan::tasks.
  static Result<BirthRegister> create(size_t count);
  BirthRegister(BirthRegister&& other) noexcept;
  BirthRegister& operator=(BirthRegister&&) = delete;
  ~BirthRegister();

  // As the tree's pid namespace numbers them. 0: not there yet.
  pid_t inner(size_t index) const { return entries_[index].inner; }
  void set_inner(size_t index, pid_t pid) const { entries_[index].inner = pid; }
  // As ours does.
  pid_t outer(size_t index) const { return entries_[index].outer; }
  void set_outer(size_t index, pid_t pid) const { entries_[index].outer = pid; }
  size_t count() const { return count_; }

 private:
  struct Entry {
    volatile pid_t inner;
    volatile pid_t outer;
  };
  BirthRegister(Entry* entries, size_t count) : entries_(entries), count_(count) {}
  Entry* entries_;
  size_t count_;
};

// Our numbers of the threads of process `outer`, by those of the pid namespace that is `depth`
// above its own.
Result<std::unordered_map<pid_t, pid_t>> outer_threads(pid_t outer, size_t depth);

}  // namespace ncr
