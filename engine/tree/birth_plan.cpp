// Everybody is born as the root of the tree is, in its user namespace, and goes down at the very
// end; but a pid namespace belongs to the user namespace that its first process is born in
// (create_new_namespaces, kernel/nsproxy.c), and what it forks is born there too. Pure.
#include "engine/tree/birth_plan.h"

namespace ncr {
namespace {

class Births {
 public:
  explicit Births(RestorePlan* plan) : plan_(*plan) {}

  Result<> plan() {
    for (size_t i = 0; i < plan_.tasks.size(); i++) TRY(place(i));
    return {};
  }

 private:
  uint32_t owner(uint32_t pid_space) const {
    if (pid_space == 0) return 0;
    return plan_.users.owner(plan_.image->namespaces[pid_space - 1]);
  }

  // Those where whoever is in `user` has the rights of a root.
  size_t levels_below(const TaskPlan& task, uint32_t user) const {
    size_t count = 0;
    uint32_t space = task.pid_space;
    const size_t all = plan_.spaces.depth(space) + 1;
    while (count < all && plan_.users.is_within(owner(space), user)) {
      count++;
      space = plan_.spaces.above(space);
    }
    return count;
  }

  Result<> place(size_t index) {
    TaskPlan& task = plan_.tasks[index];
    const TaskPlan& creator = plan_.tasks[task.creator];
    if (index != 0) task.born_user = creator.born_user;
    if (index != 0 && task.pid_space != creator.pid_space) task.born_user = owner(task.pid_space);
    const uint32_t own = task.record == nullptr ? task.born_user : plan_.users.of(*task.record);
    if (!plan_.users.is_within(task.born_user, creator.born_user) ||
        (task.live() && !plan_.users.is_within(own, task.born_user)))
      return Error::unsupported(
          strf("process %d would be born in a user namespace below its own", task.pid));
    task.chosen_levels = levels_below(task, task.born_user);
    task.chosen_for_threads = levels_below(task, own);
    return {};
  }

  RestorePlan& plan_;
};

}  // namespace

Result<> plan_births(RestorePlan* plan) { return Births(plan).plan(); }

}  // namespace ncr
