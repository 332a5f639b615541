// A process is cloned with the number it had, opens the files it owns, fills its memory at the
// shift, forks its children (those of its first session before setsid, the others after), joins its
// group when all exist, and goes into the restorer. A helper or zombie exits on the way. Files and
// memory come before the forks, so that children share them; numbers of groups and owners of files
// come after all forks, when every number exists.
//
// A child never unwinds to the coordinator's code: it ends in the restorer, or reports its error
// and exits.
#include "engine/tree/birth.h"

#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <optional>

#include "engine/base/procfs.h"
#include "engine/memory/lazy_handover.h"
#include "engine/memory/staged_memory.h"
#include "engine/resources/controlling_terminal/controlling_terminal.h"
#include "engine/resources/credentials/entry_plan.h"
#include "engine/resources/room.h"
#include "engine/resources/session/session.h"
#include "engine/resources/zombie/zombie.h"
#include "engine/tree/nested_users.h"
#include "engine/tree/number_desk.h"
#include "engine/tree/pids.h"
#include "engine/tree/side_process.h"

namespace ncr {
namespace {

constexpr int kMostTries = 200;

bool is_of_the_tree(const Nursery& nursery, const TaskPlan& task) {
  const pid_t tid = task.pid;
  if (nursery.namespaces.renumbers() || task.pid_space != 0)
    return true;  // the pid namespace is the tree's own

  Result<std::string> status = procfs::read_file(strf("%d/status", tid));
  if (!status.ok()) return true;  // gone meanwhile
  size_t at = status.value().find("\nTgid:\t");
  pid_t process =
      at == std::string::npos
          ? 0
          : static_cast<pid_t>(std::strtol(status.value().c_str() + at + 7, nullptr, 10));
  return std::any_of(nursery.plan.tasks.begin(), nursery.plan.tasks.end(),
                     [process](const TaskPlan& other) { return other.pid == process; });
}

// In the namespace it is born in, and in those above that are the tree's.
Result<pid_t> clone_with_numbers(uint64_t flags, const std::vector<pid_t>& numbers) {
  clone_args args{};
  args.flags = flags;
  args.exit_signal = (flags & CLONE_PARENT) != 0 ? 0 : SIGCHLD;
  args.set_tid = reinterpret_cast<uint64_t>(numbers.data());
  args.set_tid_size = numbers.size();
  Result<long> cloned = SYSCALL(::syscall(SYS_clone3, &args, sizeof args),
                                "clone3 with process number %d", numbers.back());
  if (!cloned.ok() && cloned.error().os_error() == EPERM)
    return cloned.take_error().while_doing(
        "choosing process numbers needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN in the pid "
        "namespace's user namespace");
  return static_cast<pid_t>(TRY(std::move(cloned)));
}

// A number may be taken for a moment by a thread of ours that copies pages; and a number chosen by
// us may be another's.
Result<pid_t> clone_process(const Nursery& nursery, const TaskPlan& task, uint64_t flags) {
  for (int attempt = 0;; attempt++) {
    // Of no helper does it matter which number it has, if it is the same everywhere.
    std::vector<pid_t> numbers = task.numbers;
    if (numbers.empty())
      numbers.assign(nursery.plan.spaces.depth(task.pid_space) + 1,
                     TRY(spare_pid(nursery.plan, attempt)));
    if (numbers.size() > task.chosen_levels) numbers.resize(task.chosen_levels);
    Result<pid_t> cloned = clone_with_numbers(flags, numbers);
    if (cloned.ok() || cloned.error().os_error() != EEXIST) return cloned;
    if (attempt == kMostTries || (task.pid != 0 && !is_of_the_tree(nursery, task)))
      return Error::system(EEXIST, strf("process number %d of the image was taken meanwhile, by %s",
                                        task.pid, holder_of(task.pid).c_str()));
    timespec pause{0, task.pid != 0 ? 1'000'000 : 0};
    ::nanosleep(&pause, nullptr);
  }
}

// Handlers of whoever asked for the restore point into code that goes away, and an ignored SIGCHLD
// would make zombies vanish.
void default_signal_actions() {
  struct {
    void* handler;
    unsigned long flags;
    void* restorer;
    uint64_t mask;
  } action{};
  for (int number = 1; number <= 64; number++)
    ::syscall(SYS_rt_sigaction, number, &action, nullptr, sizeof action.mask);
}

bool needs_desk(const TaskPlan& task) { return task.chosen_levels < task.numbers.size(); }

// The new process waits until its number was looked at (await_verdict); a wrong one is killed.
Result<pid_t> clone_at_desk(const Nursery& nursery, size_t index, uint64_t flags) {
  const TaskPlan& task = nursery.plan.tasks[index];
  DeskTurn turn(nursery.sync);
  TRY(turn.ask(index));
  const pid_t pid = TRY(clone_process(nursery, task, flags));
  if (pid == 0) turn.leave_to_parent();
  if (pid == 0) return 0;
  if (TRY(turn.is_right())) {
    nursery.born.set_inner(index, task.pid);
    return pid;
  }
  ::kill(pid, SIGKILL);
  (void)SYSCALL(::waitpid(pid, nullptr, __WALL), "waitpid");
  return -1;
}

Result<pid_t> clone_with_help(const Nursery& nursery, size_t index, uint64_t flags) {
  if (!needs_desk(nursery.plan.tasks[index]))
    return clone_process(nursery, nursery.plan.tasks[index], flags);
  for (int attempt = 0; attempt < kMostTries; attempt++)
    if (const pid_t pid = TRY(clone_at_desk(nursery, index, flags)); pid >= 0) return pid;
  return Error::system(EEXIST, strf("process number %d of the image could not be had",
                                    nursery.plan.tasks[index].pid));
}

bool leaves_group_it_founds(const TaskPlan& task) {
  return !task.helper && task.founds_group && task.pgid != task.pid;
}

// One process; `index` changes when it finds itself to be a new child.
class Birth {
 public:
  Birth(const Nursery& nursery, size_t index, std::vector<uint32_t> cgroups = {})
      : nursery_(nursery), index_(index), cgroups_(std::move(cgroups)) {}

  [[noreturn]] void run() {
    for (;;) {
      is_child_ = false;
      Result<> lived = live();
      if (lived.ok() && is_child_) continue;
      if (!lived.ok()) nursery_.sync.report_failure(index_, describe(lived.take_error()));
      give_up();
    }
  }

 private:
  const TaskPlan& plan() const { return nursery_.plan.tasks[index_]; }
  const schema::Task& record() const { return *plan().record; }
  const SyncPage& sync() const { return nursery_.sync; }

  Error describe(Error error) const {
    if (plan().helper) return std::move(error).while_doing(strf("helper %d", plan().pid));
    return std::move(error).while_doing(
        strf("restore task %d (%s)", plan().pid, record().comm().c_str()));
  }

  // The coordinator tells everybody to give up. Who waits for its children first leaves no zombies
  // to a reaper that might not care.
  [[noreturn]] static void give_up() {
    while (SYSCALL(::waitpid(-1, nullptr, __WALL), "waitpid").ok()) continue;
    ::_exit(1);
  }

  Result<> wait_for(TreeCounter counter, uint32_t value) const {
    return sync().wait(counter, value, [] { return Result<>(); });
  }

  Result<> live() {
    TRY(begin());
    if (plan().live()) TRY(make_what_children_share());
    TRY(fork_children(0, plan().children_before_setsid));
    if (is_child_) return {};
    TRY(session::lead(plan()));
    if (plan().live()) TRY(controlling_terminal::take(nursery_.files, record()));
    TRY(fork_children(plan().children_before_setsid, plan().children.size()));
    if (is_child_) return {};
    sync().add(kForked);
    TRY(wait_for(kAdopted, 2));
    // From here on every process of the tree exists.
    TRY(join_group());
    if (plan().helper) return leave_as_helper();
    TRY(wait_for_helpers());
    if (!plan().live()) zombie::become(record());
    TRY(wait_for_zombies());
    // From here on nothing is forked, nothing dies.
    return become_task();
  }

  // The root is nobody's tracee yet, and its parent is not the coordinator.
  Result<> coordinator_lives() const {
    pollfd dead{nursery_.coordinator.get(), POLLIN, 0};
    if (TRY(SYSCALL(::poll(&dead, 1, 0), "poll")) > 0) return Error::gone("the coordinator died");
    return {};
  }

  // See clone_at_desk().
  Result<> await_verdict() const {
    if (!needs_desk(plan())) return {};
    while (nursery_.born.inner(index_) == 0) {
      if (sync().header().abort != 0)
        return Error(ErrorCode::kCancelled, "the restore was given up elsewhere");
      timespec pause{0, 100'000};
      ::nanosleep(&pause, nullptr);
    }
    return {};
  }

  Result<> begin() {
    TRY(await_verdict());
    if (index_ == 0) {
      default_signal_actions();
      if (nursery_.procfs >= 0) procfs::look_through(Fd(nursery_.procfs));
      TRY(sync().wait(kAdopted, 1, [this] { return coordinator_lives(); }));
      // Whoever is orphaned while the tree is half made falls to us; ends with process_flags.Set.
      TRY(SYSCALL(::prctl(PR_SET_CHILD_SUBREAPER, 1), "prctl PR_SET_CHILD_SUBREAPER"));
    } else {
      // The root dies with the coordinator that traces it, and everybody dies with the parent.
      TRY(SYSCALL(::prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl PR_SET_PDEATHSIG"));
      if (::getppid() != number_here(real_parent(index_))) return Error::gone("its parent died");
    }
    TRY(register_birth());
    if (plan().live()) TRY(nursery_.cgroups.enter(record(), &cgroups_));
    if (plan().temporary_subreaper)
      TRY(SYSCALL(::prctl(PR_SET_CHILD_SUBREAPER, 1), "prctl PR_SET_CHILD_SUBREAPER"));
    return index_ == 0 ? make_namespaces() : enter_namespaces();
  }

  // As we number a process of the tree; 0: it is in a pid namespace above, or beside ours.
  pid_t number_here(size_t index) const {
    const TaskPlan& task = nursery_.plan.tasks[index];
    const PidSpaces& spaces = nursery_.plan.spaces;
    const size_t depth = spaces.depth(plan().pid_space);
    uint32_t at = task.pid_space;
    while (spaces.depth(at) > depth) at = spaces.above(at);
    if (at != plan().pid_space) return 0;
    return task.pid != 0 ? task.number_at(depth) : nursery_.born.inner(index);
  }

  Result<> register_birth() const {
    const pid_t inner = plan().pid != 0 ? plan().pid : ::getpid();
    nursery_.born.set_inner(index_, inner);
    pid_t outer = inner;
    if (nursery_.namespaces.renumbers()) {
      std::string self = TRY(procfs::read_link("self"));
      outer = static_cast<pid_t>(std::strtol(self.c_str(), nullptr, 10));
    }
    nursery_.born.set_outer(index_, outer);
    return {};
  }

  Result<> make_namespaces() {
    if (nursery_.namespaces.empty()) return {};
    TRY(nursery_.namespaces.make());
    sync().add(kNamespaces);
    TRY(wait_for(kNamespaces, 2));
    TRY(nursery_.namespaces.fill(nursery_.shared_memory));
    // A cgroup namespace was made in the cgroup that it shows as its root.
    cgroups_.clear();
    if (plan().live()) TRY(nursery_.cgroups.enter(record(), &cgroups_));
    sync().add(kNamespaces);
    return {};
  }

  // Helpers and zombies are where their creator is: nobody looks through them.
  Result<> enter_namespaces() const {
    if (nursery_.namespaces.empty() || !plan().live()) return {};
    const schema::Task* creator = memory_parent();
    if (creator == nullptr) return {};
    if (begins_pid_namespace())
      TRY(nursery_.namespaces.finish(plan().pid_space, record(), nursery_.shared_memory));
    return nursery_.namespaces.enter(record(), *creator);
  }

  bool begins_pid_namespace() const {
    return index_ != 0 && plan().pid_space != nursery_.plan.tasks[plan().creator].pid_space;
  }

  size_t real_parent(size_t index) const {
    const TaskPlan& task = nursery_.plan.tasks[index];
    return task.as_sibling ? real_parent(task.creator) : task.creator;
  }

  Result<> make_what_children_share() const {
    TRY(nursery_.files.open_owned(record()));
    return StagedMemory::stage(
        {*nursery_.plan.image, record(), memory_parent(), nursery_.plan.shift,
         nursery_.shared_memory, nursery_.request.threads},
        nursery_.files);
  }

  // Helpers and zombies have no memory of their own to hand down.
  const schema::Task* memory_parent() const {
    for (size_t at = index_; at != 0;) {
      at = nursery_.plan.tasks[at].creator;
      if (nursery_.plan.tasks[at].live()) return nursery_.plan.tasks[at].record;
    }
    return nullptr;
  }

  Result<> fork_children(size_t from, size_t to) {
    for (size_t at = from; at < to; at++) {
      const size_t child = plan().children[at];
      const TaskPlan& task = nursery_.plan.tasks[child];
      uint64_t flags = (task.as_sibling ? uint64_t{CLONE_PARENT} : 0) |
                       (task.shares_files ? uint64_t{CLONE_FILES} : 0) |
                       (task.pid_space != plan().pid_space ? uint64_t{CLONE_NEWPID} : 0);
      if (task.born_user != plan().born_user) {
        TRY(fork_below(child, flags));
        continue;
      }
      pid_t pid = TRY(clone_with_help(nursery_, child, flags));
      if (pid == 0) {
        index_ = child;
        is_child_ = true;
        return {};
      }
      nursery_.born.set_inner(child, task.pid != 0 ? task.pid : pid);
    }
    return {};
  }

  // The first process of a pid namespace that belongs to a user namespace below ours: somebody goes
  // there, and makes it our child. Who goes may have the very number that it needs: then another.
  Result<> fork_below(size_t child, uint64_t flags) {
    const TaskPlan& task = nursery_.plan.tasks[child];
    if (task.shares_files)
      return Error::unsupported(
          strf("process %d shares the descriptors of its parent, and begins a pid namespace of "
               "another user namespace",
               task.pid));
    forked_below_ = true;
    for (int attempt = 0; attempt < kMostTries; attempt++) {
      SideProcess below = TRY(SideProcess::start(
          SideProcess::Table::kCopied, [&] { return make_below(child, flags); },
          SideProcess::End::kSignal));
      Result<> made = below.finish();
      if (made.ok() || made.error().code() != ErrorCode::kGone) return made;
      // What has the wrong number was killed, and is our child. No other exits yet.
      TRY(SYSCALL(::waitpid(-1, nullptr, __WALL), "waitpid"));
    }
    return Error::system(EEXIST, strf("process number %d of the image could not be had", task.pid));
  }

  Result<> make_below(size_t child, uint64_t flags) {
    const TaskPlan& task = nursery_.plan.tasks[child];
    if (task.live()) {
      TRY(nursery_.cgroups.enter(*task.record, &cgroups_));
      TRY(credentials::become(nursery_.plan.users, plan().born_user, *task.record));
    }
    TRY(nursery_.namespaces.go_down(task.born_user));
    flags |= CLONE_PARENT;
    const pid_t pid = TRY(needs_desk(task) ? clone_at_desk(nursery_, child, flags)
                                           : clone_process(nursery_, task, flags));
    if (pid == 0) Birth(nursery_, child, cgroups_).run();
    return pid > 0 ? Result<>() : Error::gone("its number was taken");
  }

  Result<> join_group() const {
    if (plan().helper) return {};
    const TreeCounts& counts = nursery_.counts;
    if (leaves_group_it_founds(plan()))
      TRY(wait_for(kJoined, counts.processes - counts.helpers - counts.founders_that_leave));
    const pid_t group = plan().pgid == 0 ? nursery_.callers_group : plan().pgid;
    const pid_t here = nursery_.plan.spaces.in(plan().pid_space, group);
    // One that is led from a pid namespace above was inherited (engine/tree/fork_model.h).
    if (here != 0 || plan().pid_space == 0) TRY(session::join(here));
    // A helper above us dies soon, as it should.
    if (nursery_.plan.tasks[plan().creator].helper && !plan().as_sibling)
      TRY(SYSCALL(::prctl(PR_SET_PDEATHSIG, 0), "prctl PR_SET_PDEATHSIG"));
    sync().add(kJoined);
    return {};
  }

  Result<> leave_as_helper() const {
    TRY(wait_for(kJoined, nursery_.counts.processes - nursery_.counts.helpers));
    ::_exit(0);
  }

  Result<> wait_for_helpers() const {
    for (size_t child : plan().children) {
      if (!nursery_.plan.tasks[child].helper) continue;
      TRY(SYSCALL(::waitpid(number_here(child), nullptr, __WALL), "waitpid %d (a helper)",
                  number_here(child)));
      sync().add(kHelpersGone);
    }
    if (!plan().temporary_subreaper || index_ == 0) return {};
    TRY(wait_for(kHelpersGone, nursery_.counts.helpers));
    TRY(SYSCALL(::prctl(PR_SET_CHILD_SUBREAPER, 0), "prctl PR_SET_CHILD_SUBREAPER"));
    return {};
  }

  Result<> wait_for_zombies() const {
    if (nursery_.counts.zombies + nursery_.counts.helpers == 0 && !forked_below_) return {};
    for (size_t i = 0; i < nursery_.plan.tasks.size(); i++) {
      const TaskPlan& task = nursery_.plan.tasks[i];
      if (task.record != nullptr && !task.live() && task.record->ppid() == plan().pid)
        TRY(zombie::await(number_here(i)));
    }
    // Setting the default action of SIGCHLD drops what our helpers and zombies have left pending
    // (sigaction(2)).
    ::signal(SIGCHLD, SIG_DFL);
    return {};
  }

  // Who lives in another's table uses it until it is ready to see it go, and finds its executable
  // in the new one.
  Result<> install_files() const {
    const TreeCounts& counts = nursery_.counts;
    if (plan().shares_files) {
      sync().add(kSharersDone);
      TRY(wait_for(kInstalled, counts.tables));
      // What it was looked through was closed there.
      if (nursery_.procfs >= 0) procfs::look_through(Fd(plan().procfs_fd));
    } else {
      TRY(wait_for(kSharersDone, counts.sharers));
      TRY(nursery_.files.install(record()));
      sync().add(kInstalled);
    }
    return {};
  }

  // Its children to come are to be born in a pid namespace below: pid_for_children.
  Result<> place_children() const {
    const uint32_t space = record().pid_namespace_of_children();
    if (space == 0) return {};
    for (size_t i = 0; i < nursery_.plan.tasks.size(); i++) {
      const TaskPlan& first = nursery_.plan.tasks[i];
      if (!first.live() || first.pid_space != space || first.numbers.front() != 1) continue;
      Fd process = TRY(sys::pidfd_open(number_here(i)));
      TRY(SYSCALL(::setns(process.get(), CLONE_NEWPID), "setns to a pid namespace for children"));
      return {};
    }
    return Error::malformed(strf("pid namespace %u has no first process", space));
  }

  Result<> become_task() const {
    ChildTask child{record(), nursery_.request, &nursery_.files};
    for (const TaskRoom* room : task_rooms())
      if (room->restore != nullptr) TRY_WHILE(room->restore(child), "%s", room->name);
    TRY(place_children());
    if (nursery_.plan.lazy_socket >= 0)
      TRY(hand_over_memory(nursery_.plan.lazy_socket, plan().pid));
    TRY(install_files());
    return enter_restorer({*nursery_.plan.image, record(), nursery_.plan.shift, plan().steps,
                           plan().thread_steps, nursery_.sync, index_, plan().exe_fd,
                           &nursery_.plan.spaces, plan().chosen_for_threads});
  }

  const Nursery& nursery_;
  size_t index_;
  bool is_child_ = false;
  bool forked_below_ = false;      // a child of ours exited meanwhile
  std::vector<uint32_t> cgroups_;  // ids of those it is in, as far as the image says
};

}  // namespace

TreeCounts::TreeCounts(const RestorePlan& plan)
    : processes(static_cast<uint32_t>(plan.tasks.size())) {
  for (const TaskPlan& task : plan.tasks) {
    helpers += task.helper ? 1 : 0;
    founders_that_leave += leaves_group_it_founds(task) ? 1 : 0;
    sharers += task.shares_files && task.live() ? 1 : 0;
    tables += !task.shares_files && task.live() ? 1 : 0;
    zombies += task.record != nullptr && !task.live() ? 1 : 0;
  }
}

Result<pid_t> clone_root(const Nursery& nursery) {
  const NamespaceSet& namespaces = nursery.namespaces;
  if (!namespaces.empty()) TRY(namespaces.join_pid());
  Result<pid_t> cloned =
      clone_process(nursery, nursery.plan.tasks[0], CLONE_PARENT | namespaces.root_clone_flags());
  if (cloned.ok() && cloned.value() == 0) Birth(nursery, 0).run();
  if (!namespaces.empty()) TRY(namespaces.leave_pid());
  pid_t pid = TRY(std::move(cloned));
  nursery.born.set_outer(0, pid);
  return pid;
}

}  // namespace ncr
