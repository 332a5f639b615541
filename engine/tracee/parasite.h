// The blob in a frozen task. See docs/adr/0001: at every instant our death lets the task run on,
// whole.
#pragma once

#include <memory>

#include "engine/base/ids.h"
#include "engine/base/sys.h"
#include "engine/tracee/batch.h"
#include "engine/tracee/seized_thread.h"
#include "engine/tracee/springboard_place.h"
#include "engine/tracee/stop_signal.h"

namespace ncr {

// What infect() would otherwise have to find out by itself.
struct KnownOfTask {
  StopSignal stop_signal;  // number 0: not known
  KnownVdso vdso;
};

class [[nodiscard]] Parasite {
 public:
  // `leader` is stopped, and stays so but for the moments in which it answers.
  static Result<Parasite> infect(SeizedThread& leader, const KnownOfTask& known = {});
  Parasite(Parasite&&) noexcept;
  ~Parasite();  // cures, best effort

  Result<> run(Batch& batch);  // in the leader
  Result<> run_in_thread(
      SeizedThread& thread,
      Batch& batch);  // in another, stopped thread; its registers are as before afterwards
  template <class Command>
  Result<typename Command::Reply> call(const typename Command::Request& request) {
    Batch batch;
    size_t ticket = batch.ask<Command>(request);
    TRY(run(batch));
    if (batch.error(ticket) != 0)
      return Error::system(batch.error(ticket), "parasite command " + std::to_string(Command::kId));
    return batch.reply<Command>(ticket);
  }
  RemoteAddress area() const;  // its mapping in the target, not the target's
  uint64_t area_size() const;

  Result<> cure();  // out of the target: registers, mask and mappings as found

 private:
  struct Impl;
  explicit Parasite(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ncr
