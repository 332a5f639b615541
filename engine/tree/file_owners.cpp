// Files that must be made together are joined into sets; the owner of a set is the lowest common
// ancestor, among the processes as they create each other, of all that use a file of it. A helper
// owns nothing (it has no files of its own), nor does a process that lives in its creator's
// descriptor table: their creator does it for them. Runs in the coordinator; pure.
#include "engine/tree/file_owners.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "engine/resources/tty/tty.h"

namespace ncr {
namespace {

class Owners {
 public:
  Owners(const std::unordered_map<uint32_t, schema::OpenFile>& files, RestorePlan* plan)
      : files_(files), tasks_(plan->tasks), plan_(plan), depth_(tasks_.size(), 0) {
    for (const auto& [id, file] : files) set_[id] = id;
    for (size_t i = 1; i < tasks_.size(); i++) depth_[i] = depth_[tasks_[i].creator] + 1;
  }

  Result<> assign() {
    TRY(find_shared_tables());
    number_what_is_left();
    TRY(join_files());
    std::map<uint32_t, size_t> owner;  // of a set
    for (size_t i = 0; i < tasks_.size(); i++) {
      if (tasks_[i].record == nullptr) continue;
      for (uint32_t id : used_by(*tasks_[i].record)) {
        if (!files_.contains(id))
          return Error::malformed(
              strf("task %d uses file %u, which the image does not have", tasks_[i].pid, id));
        auto [at, is_new] = owner.try_emplace(find(id), i);
        if (!is_new) at->second = common_ancestor(at->second, i);
      }
    }
    std::map<size_t, std::vector<uint32_t>> owned;
    for (const auto& [id, unused] : set_)
      if (auto at = owner.find(find(id)); at != owner.end())
        owned[maker(above_users(at->second, id))].push_back(id);
    for (auto& [task, ids] : owned) tasks_[task].owned_files = in_order(ids);
    return {};
  }

 private:
  Result<> find_shared_tables() {
    std::map<pid_t, pid_t> table;
    for (TaskPlan& task : tasks_) {
      if (task.record == nullptr) continue;
      pid_t shared = task.record->files_shared_with();
      table[task.pid] = shared == 0 ? task.pid : shared;
      if (shared == 0) continue;
      const TaskPlan& creator = tasks_[task.creator];
      if (creator.helper || &creator == &task || table[creator.pid] != table[task.pid] ||
          task.as_sibling)
        return Error::unsupported(
            strf("task %d shares its descriptor table with task %d, which is not its parent",
                 task.pid, shared));
      task.shares_files = true;
    }
    return {};
  }

  // Each user of one table needs numbers of its own for what its restorer is left.
  void number_what_is_left() {
    int highest = -1, most = 0;
    std::vector<int> ordinal(tasks_.size(), 0);
    for (size_t i = 0; i < tasks_.size(); i++) {
      if (tasks_[i].record == nullptr) continue;
      for (const auto& descriptor : tasks_[i].record->descriptors())
        highest = std::max(highest, descriptor.number());
      if (!tasks_[i].live()) continue;
      int& next = ordinal[maker(i)];
      if (tasks_[i].record->memory().exe_file_id() != 0) tasks_[i].exe_fd = next++;
      if (plan_->users.of(*tasks_[i].record) != tasks_[i].born_user) tasks_[i].user_fd = next++;
      tasks_[i].procfs_fd = next++;
      most = std::max(most, next);
    }
    for (TaskPlan& task : tasks_)
      for (int* number : {&task.exe_fd, &task.user_fd, &task.procfs_fd})
        if (*number >= 0) *number += highest + 1;
    plan_->service_fd_base = highest + 1 + most;
  }

  // A session leader takes its terminal before it forks, so its maker is above it.
  void add_terminal(const schema::Task& task, std::set<uint32_t>* ids) const {
    if (task.terminal() == 0) return;
    for (const auto& [id, file] : files_)
      if (tty::is_terminal(file, task.terminal())) ids->insert(id);
  }

  std::set<uint32_t> used_by(const schema::Task& task) const {
    std::set<uint32_t> ids;
    if (task.state() == schema::TASK_ZOMBIE) return ids;
    for (const auto& descriptor : task.descriptors()) ids.insert(descriptor.file_id());
    for (const auto& vma : task.memory().vmas()) ids.insert(vma.file_id());
    ids.insert(task.memory().exe_file_id());
    ids.erase(0);
    add_terminal(task, &ids);
    return ids;
  }

  Result<> join_files() {
    std::map<uint64_t, uint32_t> first_of_group;
    for (const auto& [id, file] : files_) {
      if (file.group_id() != 0)
        join(first_of_group.try_emplace(file.group_id(), id).first->second, id);
      for (uint64_t group : file.joins())
        join(first_of_group.try_emplace(group, id).first->second, id);
      for (uint32_t other : file.depends_on()) {
        if (!files_.contains(other))
          return Error::malformed(
              strf("file %u depends on file %u, which the image does not have", id, other));
        join(other, id);
      }
    }
    return {};
  }

  uint32_t find(uint32_t id) {
    while (set_[id] != id) id = set_[id] = set_[set_[id]];
    return id;
  }
  void join(uint32_t a, uint32_t b) {
    set_[std::max(find(a), find(b))] = std::min(find(a), find(b));
  }

  size_t common_ancestor(size_t a, size_t b) const {
    while (a != b) {
      if (depth_[a] < depth_[b]) std::swap(a, b);
      a = tasks_[a].creator;
    }
    return a;
  }
  // A path may need more rights than whoever is born in a user namespace below has.
  size_t above_users(size_t i, uint32_t file) const {
    const schema::OpenFile& record = files_.at(file);
    if (!record.has_regular_file() || record.group_id() != 0 || record.joins_size() != 0) return i;
    while (tasks_[i].born_user != 0) i = tasks_[i].creator;
    return i;
  }
  size_t maker(size_t i) const {
    while (tasks_[i].helper || tasks_[i].shares_files) i = tasks_[i].creator;
    return i;
  }

  // Ascending, but what a file depends on comes first. A circle (sockets in flight in each other)
  // is cut somewhere: connect() runs when all are open.
  std::vector<uint32_t> in_order(const std::vector<uint32_t>& ids) const {
    std::vector<uint32_t> order;
    std::set<uint32_t> seen, mine(ids.begin(), ids.end());
    std::function<void(uint32_t)> visit = [&](uint32_t id) {
      if (!mine.contains(id) || !seen.insert(id).second) return;
      for (uint32_t other : files_.at(id).depends_on()) visit(other);
      order.push_back(id);
    };
    for (uint32_t id : mine) visit(id);
    return order;
  }

  const std::unordered_map<uint32_t, schema::OpenFile>& files_;
  std::vector<TaskPlan>& tasks_;
  RestorePlan* plan_;
  std::vector<size_t> depth_;
  std::map<uint32_t, uint32_t> set_;  // union-find, by file id
};

}  // namespace

Result<> assign_files(const std::unordered_map<uint32_t, schema::OpenFile>& files,
                      RestorePlan* plan) {
  return Owners(files, plan).assign();
}

}  // namespace ncr
