// Process numbers for those who may not choose them (docs/adr/0018).
#pragma once

#include <optional>

#include "engine/memory/sync_page.h"
#include "engine/restore_plan.h"
#include "engine/tree/birth_register.h"
#include "engine/tree/side_process.h"

namespace ncr {

// In a child: one at a time asks, clones at once, and asks whether the number came out right.
class [[nodiscard]] DeskTurn {
 public:
  explicit DeskTurn(const SyncPage& sync);  // waits for its turn
  DeskTurn(const DeskTurn&) = delete;
  ~DeskTurn();
  void leave_to_parent() { held_ = false; }  // in a new process: the turn is not its own
  // The next clone gets the numbers of the task at `index` that its creator does not choose.
  Result<> ask(size_t index) const;
  Result<bool> is_right() const;

 private:
  Result<uint32_t> settle(wire::DeskState from) const;
  bool held_ = true;
  wire::NumberDesk& desk_;
  const uint32_t& abort_;
};

// In the coordinator: starts a process that sets the last number given in a pid namespace
// (/proc/sys/kernel/ns_last_pid), for whoever asks. None if everybody in the plan may choose.
Result<std::optional<SideProcess>> open_number_desk(const RestorePlan& plan,
                                                    const BirthRegister& born,
                                                    const SyncPage& sync);

}  // namespace ncr
