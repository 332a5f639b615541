// clone3(2) takes numbers on those levels only where the caller has CAP_CHECKPOINT_RESTORE in the
// user namespace that owns the pid namespace (alloc_pid, kernel/pid.c), and who is in a user
// namespace below has it nowhere above. On the other levels the kernel gives the number after the
// last one (idr_alloc_cyclic), and that can be set by somebody who is in that very pid namespace
// (pid_ns_ctl_handler, kernel/pid_namespace.c). Others may fork in between: then it is tried again.
// The requests are in memory that everybody shares (wire::NumberDesk); threads make them from the
// restorer.
#include "engine/tree/number_desk.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstdlib>
#include <ctime>
#include <functional>

#include "engine/base/proc.h"
#include "engine/base/sys.h"
#include "engine/tree/process_table.h"

namespace ncr {
namespace {

using wire::DeskState;

constexpr const char* kLastPid = "/proc/sys/kernel/ns_last_pid";

uint32_t load(const uint32_t& word) { return std::atomic_ref(const_cast<uint32_t&>(word)).load(); }

void put(uint32_t& word, uint32_t value) {
  std::atomic_ref(word).store(value);
  (void)::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void wait_a_little(uint32_t& word, uint32_t seen) {
  timespec timeout{0, 20'000'000};
  (void)::syscall(SYS_futex, &word, FUTEX_WAIT, seen, &timeout, nullptr, 0);
}

class Clerk {
 public:
  Clerk(const RestorePlan& plan, const BirthRegister& born, const SyncPage& sync)
      : plan_(plan), born_(born), desk_(sync.header().desk) {}

  [[noreturn]] void serve() {
    for (;;) {
      const uint32_t state = load(desk_.state);
      if (state == static_cast<uint32_t>(DeskState::kAsked))
        answer(set_numbers().ok() ? DeskState::kSet : DeskState::kFailed);
      else if (state == static_cast<uint32_t>(DeskState::kMade))
        answer(look() ? DeskState::kRight : DeskState::kWrong);
      else
        wait_a_little(desk_.state, state);
    }
  }

 private:
  void answer(DeskState state) { put(desk_.state, static_cast<uint32_t>(state)); }

  const TaskPlan& task() const { return plan_.tasks[desk_.task]; }
  std::vector<pid_t> numbers() const {
    if (desk_.thread == 0) return task().numbers;
    return plan_.spaces.numbers(task().pid_space,
                                task().record->threads(static_cast<int>(desk_.thread)).tid());
  }

  // On each level whose number is not chosen: the inner ones first, for who sets one takes a number
  // on every level further out.
  Result<> on_open_levels(const std::function<Result<>(uint32_t space, pid_t wanted)>& set) const {
    const std::vector<pid_t> wanted = numbers();
    const size_t chosen = desk_.thread == 0 ? task().chosen_levels : task().chosen_for_threads;
    uint32_t space = task().pid_space;
    for (size_t level = 0; level < wanted.size(); level++) {
      if (level >= chosen) TRY(set(space, wanted[level]));
      space = plan_.spaces.above(space);
    }
    return {};
  }

  bool is_ours(uint32_t space) const { return space == 0 && !plan_.renumbered; }

  Result<> set_numbers() {
    const std::string before = TRY(sys::read_file(kLastPid));
    before_ = static_cast<pid_t>(std::strtol(before.c_str(), nullptr, 10));
    return on_open_levels(
        [this](uint32_t space, pid_t wanted) { return set_last(space, wanted - 1); });
  }

  // Who forks next, whoever that is, gets no number that the image needs.
  Result<> put_back() const {
    return on_open_levels([this](uint32_t space, pid_t) {
      return set_last(space, is_ours(space) ? before_ : highest_in(space));
    });
  }

  pid_t highest_in(uint32_t space) const {
    pid_t highest = 0;
    for (const TaskPlan& other : plan_.tasks) {
      highest = std::max(highest, plan_.spaces.in(space, other.pid));
      if (!other.live()) continue;
      for (const schema::Thread& thread : other.record->threads())
        highest = std::max(highest, plan_.spaces.in(space, thread.tid()));
    }
    return highest;
  }

  static Result<> write_last(pid_t number) {
    Fd file = TRY(sys::open(kLastPid, O_WRONLY));
    const std::string text = std::to_string(number);
    return sys::write_all(file, text.data(), text.size());
  }

  Result<> set_last(uint32_t space, pid_t number) const {
    if (is_ours(space)) return write_last(number);
    const size_t first = first_of(space);
    Fd nsfs = TRY(sys::open(strf("/proc/%d/ns/pid", born_.outer(first)).c_str(), O_RDONLY));
    TRY(SYSCALL(::setns(nsfs.get(), CLONE_NEWPID), "setns to a pid namespace for children"));
    return TRY(SideProcess::start(SideProcess::Table::kCopied,
                                  [number] { return write_last(number); }))
        .finish();
  }

  size_t first_of(uint32_t space) const {
    for (size_t i = 0; i < plan_.tasks.size(); i++)
      if (plan_.tasks[i].pid_space == space && plan_.tasks[i].pid != 0 &&
          plan_.tasks[i].numbers.front() == 1)
        return i;
    return 0;
  }

  bool look() const {
    const bool right = is_there();
    (void)put_back();
    return right;
  }

  // Whether a thread of ours, or a child of its parent, has just these numbers. In a pid namespace
  // beside ours somebody else may have them: another tree from the same image, for one.
  bool is_there() const {
    std::vector<pid_t> wanted = numbers();
    std::reverse(wanted.begin(), wanted.end());
    const std::string folder =
        desk_.thread == 0 ? "/proc" : strf("/proc/%d/task", born_.outer(desk_.task));
    Result<std::vector<pid_t>> entries = sys::numbered_entries(Fd(), folder.c_str());
    return entries.ok() && std::any_of(entries.value().begin(), entries.value().end(),
                                       [&](pid_t pid) { return has(folder, pid, wanted); });
  }

  bool has(const std::string& folder, pid_t pid, const std::vector<pid_t>& wanted) const {
    Result<std::string> text = sys::read_file(strf("%s/%d/status", folder.c_str(), pid).c_str());
    if (!text.ok()) return false;
    Result<proc::Status> status = proc::parse_status(text.value());
    if (!status.ok() || status.value().ns_pids.size() < wanted.size()) return false;
    if (desk_.thread == 0 && status.value().ppid != born_.outer(parent_of(desk_.task)))
      return false;
    const std::vector<pid_t>& all = status.value().ns_pids;
    return std::equal(wanted.begin(), wanted.end(),
                      all.end() - static_cast<std::ptrdiff_t>(wanted.size()));
  }

  size_t parent_of(size_t index) const {
    const TaskPlan& task = plan_.tasks[index];
    return task.as_sibling ? parent_of(task.creator) : task.creator;
  }

  const RestorePlan& plan_;
  const BirthRegister& born_;
  wire::NumberDesk& desk_;
  pid_t before_ = 0;  // the last one given in our own pid namespace
};

bool is_needed(const RestorePlan& plan) {
  return std::any_of(plan.tasks.begin(), plan.tasks.end(), [](const TaskPlan& task) {
    const bool threads = task.live() && task.record->threads_size() > 1;
    return task.chosen_levels < task.numbers.size() ||
           (threads && task.chosen_for_threads < task.numbers.size());
  });
}

}  // namespace

DeskTurn::DeskTurn(const SyncPage& sync) : desk_(sync.header().desk), abort_(sync.header().abort) {
  for (uint32_t free = 0; !std::atomic_ref(desk_.lock).compare_exchange_strong(free, 1); free = 0)
    wait_a_little(desk_.lock, 1);
}

DeskTurn::~DeskTurn() {
  if (held_) put(desk_.lock, 0);
}

Result<uint32_t> DeskTurn::settle(DeskState from) const {
  put(desk_.state, static_cast<uint32_t>(from));
  for (int look = 0;; look++) {
    const uint32_t state = load(desk_.state);
    if (state != static_cast<uint32_t>(from)) return state;
    // Awake, we are there before others fork.
    constexpr int kAwake = 2000;
    if (look < kAwake) {
      (void)::sched_yield();
      continue;
    }
    if (load(abort_) != 0)
      return Error(ErrorCode::kCancelled, "the restore was given up elsewhere");
    wait_a_little(desk_.state, state);
  }
}

Result<> DeskTurn::ask(size_t index) const {
  desk_.task = static_cast<uint32_t>(index);
  desk_.thread = 0;
  if (TRY(settle(DeskState::kAsked)) == static_cast<uint32_t>(DeskState::kSet)) return {};
  return Error::unsupported(
      "the number that the kernel gives next (/proc/sys/kernel/ns_last_pid) cannot be set here");
}

Result<bool> DeskTurn::is_right() const {
  return TRY(settle(DeskState::kMade)) == static_cast<uint32_t>(DeskState::kRight);
}

Result<std::optional<SideProcess>> open_number_desk(const RestorePlan& plan,
                                                    const BirthRegister& born,
                                                    const SyncPage& sync) {
  std::optional<SideProcess> clerk;
  if (!is_needed(plan)) return clerk;
  clerk.emplace(TRY(SideProcess::start(SideProcess::Table::kCopied,
                                       [&]() -> Result<> { Clerk(plan, born, sync).serve(); })));
  return clerk;
}

}  // namespace ncr
