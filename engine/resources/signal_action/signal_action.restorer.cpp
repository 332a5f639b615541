// restorer: every action as in the image, every other signal at its default, whatever the engine
// was started with.
#include "engine/resources/signal_action/signal_action.h"
#include "pie/syscall.h"

namespace ncr::signal_action {
namespace {

constexpr uint32_t kSigkill = 9;  // the same on every architecture but alpha, mips and sparc
constexpr uint32_t kSigchld = 17;
constexpr uint32_t kSigstop = 19;

}  // namespace

pie::Ret run(const Set& step) {
  const auto* next = reinterpret_cast<const Numbered*>(&step + 1);
  const Numbered* end = next + step.count;
  KernelSigaction by_default{};
  // Children that were made only to be zombies have sent SIGCHLD; setting an action that ignores it
  // makes the kernel forget the pending one.
  pie::Ret ret = pie::sys(__NR_rt_sigaction, kSigchld, &by_default, nullptr, sizeof(uint64_t));
  if (!ret.ok()) return ret;
  for (uint32_t number = 1; number <= kSignals; number++) {
    bool listed = next != end && next->number == number;
    const KernelSigaction* action = listed ? &next->action : &by_default;
    if (listed) next++;
    if (number == kSigkill || number == kSigstop) continue;
    ret = pie::sys(__NR_rt_sigaction, number, action, nullptr, sizeof(uint64_t));
    if (!ret.ok()) return ret;
  }
  return pie::Ret::success();
}

}  // namespace ncr::signal_action
