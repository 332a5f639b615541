// What the checksums cannot vouch for: that the records of an image fit together. Pure.
//
// A checksum says that the bytes are those that were written, not who wrote them. Everything behind
// this check takes numbers from the records as indices, sizes and addresses, so whatever could lead
// it astray is refused here: the restore runs with all privileges.
#include "engine/image/consistency.h"

#include <cstdarg>
#include <cstdio>
#include <unordered_map>
#include <unordered_set>

#include "engine/image/image_dir.h"

namespace ncr {
namespace consistency {

bool is_name(const std::string& name, size_t most) {
  return name.size() <= most && name.find('\0') == std::string::npos;
}

bool is_path(const std::string& path) {
  return !path.empty() && path[0] == '/' && is_name(path, 4096);
}

Error bad(const char* file, const std::string& object, const char* format, ...) {
  char text[256];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return Error::malformed(strf("%s: %s: %s", file, object.c_str(), text));
}

std::string name_of(const schema::Task& task) {
  std::string comm = task.comm().substr(0, 16);
  for (char& c : comm) c = c < ' ' || c > '~' ? '?' : c;
  return strf("task %d (%s)", task.pid(), comm.c_str());
}

namespace {

bool is_pid(int32_t number) { return number > 0 && number <= kMostPids; }
// 0: a leader outside of the namespace.
bool is_group(int32_t number) { return number >= 0 && number <= kMostPids; }

class Tree {
 public:
  explicit Tree(const Image& image) : image_(image) {}

  Result<> check() {
    if (image_.tasks.empty()) return bad(kTasksFile, "the tree", "no task");
    if (image_.inventory.root_pid() != image_.tasks[0].pid()) {
      return bad(kTasksFile, "the tree", "its root is not the one of the inventory");
    }
    if (image_.inventory.tasks() != image_.tasks.size()) {
      return bad(kTasksFile, "the tree", "%zu tasks, the inventory says %u", image_.tasks.size(),
                 image_.inventory.tasks());
    }
    TRY(check_namespaces());
    TRY(check_users(image_));
    for (const schema::Task& task : image_.tasks) {
      TRY(check_place(task));
      TRY(check_membership(task));
      TRY(check_sharing(task));
      TRY(check_threads(task));
      known_.emplace(task.pid(), &task);
    }
    return check_pid_references();
  }

 private:
  Result<> check_namespaces() const {
    for (size_t i = 0; i < image_.namespaces.size(); i++) {
      const schema::Namespace& record = image_.namespaces[i];
      const std::string who = strf("namespace %u", record.id());
      if (record.id() != i + 1) return bad(kNamespacesFile, who, "not in the order of its number");
      if (record.content_case() == schema::Namespace::CONTENT_NOT_SET)
        return bad(kNamespacesFile, who, "of an unknown kind");
      if (record.owner() > image_.namespaces.size() || record.parent() > image_.namespaces.size())
        return bad(kNamespacesFile, who, "its owner or parent is not in the image");
      if (record.has_pid()) TRY(check_pid_namespace(record, who));
    }
    return {};
  }

  // Parents first, so that no chain of them is a circle.
  Result<> check_pid_namespace(const schema::Namespace& record, const std::string& who) const {
    const uint32_t parent = record.parent();
    if (parent != 0 && (parent >= record.id() || !image_.namespaces[parent - 1].has_pid()))
      return bad(kNamespacesFile, who, "its parent is no pid namespace that comes before it");
    for (const schema::PidPair& pair : record.pid().numbers())
      if (!is_pid(pair.of_root()) || !is_pid(pair.here()))
        return bad(kNamespacesFile, who, "number %d of process %d is not possible", pair.here(),
                   pair.of_root());
    return {};
  }

  // Mounts that a process of a pid namespace is to make would be left to the caller's otherwise.
  Result<> check_pid_references() const {
    std::unordered_set<uint32_t> inhabited;
    for (const schema::Task& task : image_.tasks)
      if (task.state() != schema::TASK_ZOMBIE)
        for (uint32_t id : task.namespaces())
          if (image_.namespaces[id - 1].has_pid()) inhabited.insert(id);
    for (const schema::Task& task : image_.tasks)
      if (uint32_t id = task.pid_namespace_of_children(); id != 0 && !inhabited.contains(id))
        return bad(kTasksFile, name_of(task), "nobody is in the pid namespace of its children");
    for (const schema::Namespace& record : image_.namespaces)
      for (const schema::MountedFileSystem& system : record.mnt().file_systems())
        if (uint32_t id = system.pid_namespace(); id != 0 && !inhabited.contains(id))
          return bad(kNamespacesFile, strf("namespace %u", record.id()),
                     "nobody is in the pid namespace that its procfs shows");
    return {};
  }

  Result<> check_membership(const schema::Task& task) const {
    std::unordered_set<int> kinds;
    for (uint32_t id : task.namespaces()) {
      if (id == 0 || id > image_.namespaces.size())
        return bad(kTasksFile, name_of(task), "namespace %u is not in the image", id);
      if (!kinds.insert(image_.namespaces[id - 1].content_case()).second)
        return bad(kTasksFile, name_of(task), "in two namespaces of one kind");
    }
    return {};
  }

  Result<> check_place(const schema::Task& task) {
    if (!is_pid(task.pid()) || known_.count(task.pid()) != 0) {
      return bad(kTasksFile, name_of(task), "its number is not possible, or another task's");
    }
    bool root = known_.empty();
    if (root ? task.ppid() != 0 : known_.count(task.ppid()) == 0) {
      return bad(kTasksFile, name_of(task), "its parent %d does not come before it", task.ppid());
    }
    if (!is_group(task.pgid()) || !is_group(task.sid())) {
      return bad(kTasksFile, name_of(task), "process group %d, session %d", task.pgid(),
                 task.sid());
    }
    if (root && task.state() == schema::TASK_ZOMBIE) {
      return bad(kTasksFile, name_of(task), "the root is a zombie");
    }
    return {};
  }

  bool can_lend(int32_t pid, bool memory) const {
    auto found = known_.find(pid);
    if (found == known_.end() || found->second->state() == schema::TASK_ZOMBIE) return false;
    return memory ? found->second->memory().shared_with() == 0
                  : found->second->files_shared_with() == 0;
  }

  Result<> check_sharing(const schema::Task& task) {
    int32_t files = task.files_shared_with();
    int32_t memory = task.memory().shared_with();
    if ((files == 0 || can_lend(files, false)) && (memory == 0 || can_lend(memory, true)))
      return {};
    return bad(kTasksFile, name_of(task), "it shares with a task that does not come before it");
  }

  Result<> check_threads(const schema::Task& task) {
    if (task.state() == schema::TASK_ZOMBIE) {
      if (task.threads_size() != 0 || task.descriptors_size() != 0 ||
          task.memory().vmas_size() != 0) {
        return bad(kTasksFile, name_of(task), "a zombie that has more than a status");
      }
      return claim(task, task.pid());
    }
    bool leads = task.threads_size() > 0 && task.threads(0).tid() == task.pid();
    if (!leads && (!task.dead_leader() || task.threads_size() == 0)) {
      return bad(kTasksFile, name_of(task), "its leader is not its first thread");
    }
    if (!leads) TRY(claim(task, task.pid()));
    for (const schema::Thread& thread : task.threads()) TRY(claim(task, thread.tid()));
    return {};
  }

  // Processes and threads have their numbers out of one pot.
  Result<> claim(const schema::Task& task, int32_t number) {
    if (is_pid(number) && numbers_.insert(number).second) return {};
    return bad(kTasksFile, name_of(task), "thread %d: its number is not possible, or taken",
               number);
  }

  const Image& image_;
  std::unordered_map<int32_t, const schema::Task*> known_;
  std::unordered_set<int32_t> numbers_;
};

}  // namespace

Result<> check_tree(const Image& image) { return Tree(image).check(); }

}  // namespace consistency

Result<> check_consistency(const Image& image) {
  uint32_t page_size = image.inventory.page_size();
  if (page_size != kPageSize && page_size != 16384 && page_size != 65536) {
    return Error::malformed(strf("%s: pages of %u bytes", kInventoryFile, page_size));
  }
  TRY(consistency::check_tree(image));
  for (const schema::Task& task : image.tasks) {
    TRY(consistency::check_task(task, image));
    TRY(consistency::check_memory(task, image));
  }
  TRY(consistency::check_shared_memory(image));
  TRY(consistency::check_page_maps(image));
  return consistency::check_files(image);
}

}  // namespace ncr
