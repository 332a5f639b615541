// A process tree being made, as the coordinator holds it: seized from its first moments, so that
// the coordinator's death kills it; the destructor kills it too, unless it was released.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <vector>

#include "engine/memory/restorer_launch.h"
#include "engine/restore_plan.h"
#include "engine/tracee/seized_thread.h"
#include "engine/tree/birth_register.h"
#include "engine/tree/release.h"

namespace ncr {

class [[nodiscard]] HalfTree {
 public:
  HalfTree(const RestorePlan& plan, const BirthRegister& born, SyncPage& sync,
           std::function<bool()> cancelled);
  HalfTree(HalfTree&& other) noexcept;
  HalfTree& operator=(HalfTree&&) = delete;
  ~HalfTree();

  Result<> adopt(size_t index);  // a live task that exists
  Result<> adopt_all();
  // Every thread exists: those besides the leaders that are about to get seccomp filters.
  Result<> adopt_filtered_threads();
  // For the waits of SyncPage: an error if the caller cancelled, a child failed, or one died
  // without a word.
  Result<> check();
  Result<> stop_if_cancelled() const;

  // Every thread is parked. Beyond this point the tree lives on by itself.
  Result<> release(AfterRestore after);

 private:
  Result<> check_traced(size_t index) const;
  Result<> check_untraced(size_t index) const;
  bool is_over(size_t index);
  void kill_all();

  const RestorePlan* plan_;
  SyncPage* sync_;
  std::function<bool()> cancelled_;
  const BirthRegister* born_;                         // null once the tree lives by itself
  std::vector<std::optional<SeizedThread>> leaders_;  // by index of the plan
  FilteredThreads filtered_;
  uint64_t next_check_ns_ = 0;
  unsigned checks_ = 0;
  bool last_resort_ = false;  // giving up did not help: SIGKILL went out
};

}  // namespace ncr
