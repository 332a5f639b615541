// Cgroups are made by the coordinator, with the rights and in the cgroup namespace of whoever
// restores; every child enters its own by itself, through descriptors it inherits, right after its
// birth: so what it fills and forks is charged where it belongs. Writing "0" to cgroup.procs moves
// the writer, whatever number it has. The kernel asks for the rights of who opened the file
// (cgroup_attach_permissions()), so that works from inside user and cgroup namespaces too.
#include "engine/resources/cgroup/cgroup_restore.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <set>

#include "engine/resources/cgroup/cgroup.h"
#include "engine/resources/cgroup/hierarchies.h"
#include "engine/resources/cgroup/properties.h"
#include "engine/tree/birth_register.h"

namespace ncr::cgroup {
namespace {

constexpr const char* kWayOut = "--manage-cgroups=ignore restores the tree where the restorer is";

// A cgroup of the image.
struct Prepared {
  const schema::Cgroup* record = nullptr;
  Version version = Version::kV2;
  size_t hierarchy = 0;  // index into Impl::hierarchies
  std::string path;      // on this machine
  Fd directory;
  bool created = false;
  int procs = -1;  // cgroup.procs, if tasks enter
};

struct PreparedHierarchy {
  const schema::CgroupHierarchy* record = nullptr;
  std::string controllers;
  std::string root_path;
  Fd root;
};

struct Made {  // a directory that was not there
  size_t hierarchy;
  std::string path;
};

bool may_create(CgroupMode mode) {
  return mode == CgroupMode::kSoft || mode == CgroupMode::kFull || mode == CgroupMode::kStrict;
}

bool sets_properties(CgroupMode mode, bool created) {
  if (mode == CgroupMode::kProps || mode == CgroupMode::kFull) return true;
  return created && mode != CgroupMode::kNone;
}

Result<> write_text(const Fd& directory, const std::string& file, const std::string& text) {
  Fd fd = TRY(sys::open_at(directory, file.c_str(), O_WRONLY));
  TRY_WHILE(sys::write_all(fd, text.data(), text.size()), "write \"%s\" to %s", text.c_str(),
            file.c_str());
  return {};
}

std::string first_line(const Fd& directory, const char* file) {
  Result<std::string> text = sys::read_file_at(directory, file);
  return text.ok() ? text.value().substr(0, text.value().find('\n')) : "";
}

// One property, with what is left to be written of it: some depend on each other in ways that
// change with their values, so who fails is tried again after the others.
struct Pending {
  const Prepared* cgroup;
  std::vector<Write> writes;
  std::string name;
};

}  // namespace

struct Cgroups::Impl {
  CgroupMode mode{};
  std::vector<PreparedHierarchy> hierarchies;
  std::vector<Prepared> cgroups;
  std::map<uint32_t, size_t> by_id;
  std::vector<Made> made;
  std::set<uint32_t> used;         // ids
  std::vector<uint32_t> root_ids;  // of the tree's root
  // The root task has to be in its cgroup namespace's root for a moment, which it could not once
  // controllers are given to the cgroups below: so those come late.
  bool namespaced = false;
  bool moves_itself = false;  // this process exists for the restore alone

  Result<> prepare(const Image& image, const RestoreRequest& request, int fd_base);
  Result<> prepare_hierarchy(const schema::CgroupHierarchy& record, const RestoreRequest& request,
                             const Hierarchies& machine);
  Result<> prepare_cgroup(size_t hierarchy, const schema::Cgroup& record);
  Result<bool> make(size_t hierarchy, const std::string& path);
  Result<> make_ancestors(size_t hierarchy, const std::string& path);
  Result<> configure_new(const Prepared& cgroup) const;
  Result<> set_owners(const Prepared& cgroup) const;
  bool is_due(const Prepared& cgroup, const std::string& property, When when) const;
  Result<std::vector<Pending>> due_properties(When when) const;
  bool step_aside(const Prepared& cgroup) const;
  Result<> set(const Pending& pending) const;
  Result<> set_properties(When when) const;
  Result<> check_thawed(const Prepared& cgroup) const;
  Result<> open_entrance(Prepared& cgroup, int fd_base) const;
  Result<> enter(uint32_t id, std::vector<uint32_t>* from) const;
  Result<> place_thread(const schema::Thread& thread, pid_t tid) const;
  const Prepared* find(const std::string& controllers, const std::string& path) const;
  void remove_made();
};

namespace {

// A new cpuset has no CPU at all, and nobody can enter it.
Result<> give_parents_cpus(const Fd& root, const std::string& path) {
  const size_t slash = path.rfind('/');
  Fd parent = TRY(open_cgroup(root, slash == 0 ? "/" : path.substr(0, slash)));
  Fd child = TRY(open_cgroup(root, path));
  for (const char* file : {"cpuset.cpus", "cpuset.mems"})
    if (first_line(child, file).empty()) TRY(write_text(child, file, first_line(parent, file)));
  return {};
}

// What is enabled in the parent, for the children of one that was just made on the way.
void pass_controllers_on(const Fd& directory) {
  Result<std::string> available = sys::read_file_at(directory, "cgroup.controllers");
  if (!available.ok()) return;
  for (std::string_view one : split(available.value(), ' ')) {
    while (one.ends_with('\n')) one.remove_suffix(1);
    if (!one.empty()) (void)write_text(directory, "cgroup.subtree_control", "+" + std::string(one));
  }
}

}  // namespace

// True if it was not there.
Result<bool> Cgroups::Impl::make(size_t hierarchy, const std::string& path) {
  if (path == "/") return false;
  const Fd& root = hierarchies[hierarchy].root;
  Result<int> result = SYSCALL(::mkdirat(root.get(), path.c_str() + 1, 0755), "mkdir");
  if (!result.ok() && result.error().os_error() == EEXIST) return false;
  TRY(std::move(result));
  made.push_back({hierarchy, path});
  if (controllers_within("cpuset", hierarchies[hierarchy].controllers))
    TRY(give_parents_cpus(root, path));
  return true;
}

Result<> Cgroups::Impl::make_ancestors(size_t hierarchy, const std::string& path) {
  for (size_t at = path.find('/', 1); at != path.npos; at = path.find('/', at + 1)) {
    const std::string ancestor = path.substr(0, at);
    const bool created = TRY_WHILE(make(hierarchy, ancestor), "cgroup %s", ancestor.c_str());
    if (!created || !hierarchies[hierarchy].controllers.empty()) continue;
    Fd directory = TRY(open_cgroup(hierarchies[hierarchy].root, ancestor));
    pass_controllers_on(directory);
  }
  return {};
}

Result<> Cgroups::Impl::set_owners(const Prepared& cgroup) const {
  const int directory = cgroup.directory.get();
  const schema::CgroupOwner& owner = cgroup.record->owner();
  if (cgroup.record->has_owner()) {
    TRY(SYSCALL(::fchown(directory, owner.uid(), owner.gid()), "chown"));
    TRY(SYSCALL(::fchmod(directory, owner.mode() & 07777), "chmod"));
  }
  for (const schema::CgroupOwner& file : cgroup.record->files()) {
    const char* name = file.name().c_str();
    if (::faccessat(directory, name, F_OK, 0) != 0) continue;  // not of this kernel
    TRY(SYSCALL(::fchownat(directory, name, file.uid(), file.gid(), AT_SYMLINK_NOFOLLOW),
                "chown %s", name));
    TRY(SYSCALL(::fchmodat(directory, name, file.mode() & 07777, 0), "chmod %s", name));
  }
  return {};
}

// What cannot be changed any more once there are cgroups below.
Result<> Cgroups::Impl::configure_new(const Prepared& cgroup) const {
  if (cgroup.record->threaded()) TRY(write_text(cgroup.directory, "cgroup.type", "threaded"));
  if (!sets_properties(mode, true)) return {};
  for (const schema::CgroupProperty& property : cgroup.record->properties()) {
    if (when_of(cgroup.version, property.name()) != When::kAtBirth) continue;
    const std::vector<Write> writes = TRY(writes_of(cgroup.version, property));
    for (const Write& write : writes) TRY(write_text(cgroup.directory, write.file, write.text));
  }
  return {};
}

Result<> Cgroups::Impl::prepare_cgroup(size_t hierarchy, const schema::Cgroup& record) {
  const PreparedHierarchy& place = hierarchies[hierarchy];
  Prepared cgroup;
  cgroup.record = &record;
  cgroup.hierarchy = hierarchy;
  cgroup.version = place.controllers.empty() ? Version::kV2 : Version::kV1;
  cgroup.path = record.outside() ? record.path() : joined(place.root_path, record.path());
  if (may_create(mode)) {
    TRY(make_ancestors(hierarchy, cgroup.path));
    cgroup.created = TRY(make(hierarchy, cgroup.path));
    if (!cgroup.created && mode == CgroupMode::kStrict && cgroup.path != "/")
      return Error::usage("it is there already; --manage-cgroups=strict wants to make it");
  }
  Result<Fd> directory = open_cgroup(place.root, cgroup.path);
  if (!directory.ok() && directory.error().os_error() == ENOENT)
    return Error::unsupported(
        strf("it does not exist, and the mode of --manage-cgroups forbids making it; %s", kWayOut));
  cgroup.directory = TRY(std::move(directory));
  if (cgroup.created) TRY(configure_new(cgroup));
  if (sets_properties(mode, cgroup.created)) TRY(set_owners(cgroup));
  by_id[record.id()] = cgroups.size();
  cgroups.push_back(std::move(cgroup));
  return {};
}

Result<> Cgroups::Impl::prepare_hierarchy(const schema::CgroupHierarchy& record,
                                          const RestoreRequest& request,
                                          const Hierarchies& machine) {
  Result<Fd> root = machine.open_root(record.controllers());
  if (!root.ok()) return root.take_error().while_doing(kWayOut);
  const size_t index = hierarchies.size();
  hierarchies.push_back({&record, machine.own_in(record.controllers())->controllers,
                         root_path_for(record, request.cgroup_roots), root.take()});
  if (!is_plain_path(hierarchies.back().root_path))
    return Error::usage(
        strf("\"%s\" is no path of a cgroup", hierarchies.back().root_path.c_str()));
  for (const schema::Cgroup& cgroup : record.cgroups()) {
    const std::string& top = hierarchies[index].root_path;
    TRY_WHILE(prepare_cgroup(index, cgroup), "cgroup %s",
              (cgroup.outside() ? cgroup.path() : joined(top, cgroup.path())).c_str());
  }
  return {};
}

// Whoever enters a frozen cgroup stands still, and the restore with it.
Result<> Cgroups::Impl::check_thawed(const Prepared& cgroup) const {
  const std::string v1 = first_line(cgroup.directory, "freezer.state");
  Result<std::string> events = sys::read_file_at(cgroup.directory, "cgroup.events");
  const bool v2_frozen = first_line(cgroup.directory, "cgroup.freeze") == "1" ||
                         (events.ok() && events.value().find("frozen 1") != std::string::npos);
  if ((v1.empty() || v1 == "THAWED") && !v2_frozen) return {};
  return Error::unsupported(
      strf("cgroup %s is frozen: thaw it, no task can be restored in there", cgroup.path.c_str()));
}

Result<> Cgroups::Impl::open_entrance(Prepared& cgroup, int fd_base) const {
  TRY(check_thawed(cgroup));
  Fd procs = TRY_WHILE(sys::open_at(cgroup.directory, "cgroup.procs", O_WRONLY), "cgroup %s",
                       cgroup.path.c_str());
  cgroup.procs = TRY(SYSCALL(::fcntl(procs.get(), F_DUPFD_CLOEXEC, fd_base), "F_DUPFD_CLOEXEC"));
  return {};
}

// What an existing cgroup is given in this mode, and a controller for the new ones below it.
bool Cgroups::Impl::is_due(const Prepared& cgroup, const std::string& property, When when) const {
  When due = when_of(cgroup.version, property);
  if (due == When::kAtBirth && !cgroup.created) due = When::kAtOnce;
  if (namespaced && cgroup.version == Version::kV2) due = When::kLate;
  if (due != when) return false;
  if (sets_properties(mode, cgroup.created)) return true;
  std::string below;
  return property == "cgroup.subtree_control" && mode != CgroupMode::kNone &&
         std::any_of(cgroups.begin(), cgroups.end(), [&](const Prepared& other) {
           return other.created && other.hierarchy == cgroup.hierarchy &&
                  path_below(other.path, cgroup.path, &below);
         });
}

Result<std::vector<Pending>> Cgroups::Impl::due_properties(When when) const {
  std::vector<Pending> due;
  for (const Prepared& cgroup : cgroups) {
    for (const schema::CgroupProperty& property : cgroup.record->properties()) {
      if (!is_due(cgroup, property.name(), when)) continue;
      std::vector<Write> writes = TRY(writes_of(cgroup.version, property));
      due.push_back({&cgroup, std::move(writes), property.name()});
    }
  }
  return due;
}

// v2 gives controllers only to the children of a cgroup without processes, and a runtime has put us
// there to make the tree. Where the tree's root goes we are in nobody's way.
bool Cgroups::Impl::step_aside(const Prepared& cgroup) const {
  if (!moves_itself || cgroup.version != Version::kV2) return false;
  const std::string us = "\n" + std::to_string(::getpid()) + "\n";
  Result<std::string> procs = sys::read_file_at(cgroup.directory, "cgroup.procs");
  if (!procs.ok() || ("\n" + procs.value()).find(us) == std::string::npos) return false;
  for (uint32_t id : root_ids) {
    const Prepared& leaf = cgroups[by_id.at(id)];
    if (leaf.hierarchy == cgroup.hierarchy && leaf.path != cgroup.path)
      return write_text(leaf.directory, "cgroup.procs", "0").ok();
  }
  return false;
}

Result<> Cgroups::Impl::set(const Pending& pending) const {
  for (const Write& write : pending.writes) {
    const Fd& directory = pending.cgroup->directory;
    Result<> written = write_text(directory, write.file, write.text);
    if (!written.ok() && written.error().os_error() == EBUSY && step_aside(*pending.cgroup))
      written = write_text(directory, write.file, write.text);
    if (!written.ok())
      return written.take_error().while_doing(
          strf("cgroup %s: %s", pending.cgroup->path.c_str(), pending.name.c_str()));
  }
  return {};
}

Result<> Cgroups::Impl::set_properties(When when) const {
  std::vector<Pending> todo = TRY(due_properties(when));
  while (!todo.empty()) {
    std::vector<Pending> failed;
    Result<> first;
    for (Pending& pending : todo) {
      Result<> done = set(pending);
      if (done.ok()) continue;
      if (first.ok()) first = std::move(done);
      failed.push_back(std::move(pending));
    }
    if (failed.size() == todo.size()) return first;
    todo = std::move(failed);
  }
  return {};
}

Result<> Cgroups::Impl::prepare(const Image& image, const RestoreRequest& request, int fd_base) {
  mode = request.cgroups;
  moves_itself = request.root_is_sibling;
  for (const schema::Namespace& space : image.namespaces) namespaced |= space.has_cgroup();
  root_ids.assign(image.tasks.front().cgroups().begin(), image.tasks.front().cgroups().end());
  for (const schema::Task& task : image.tasks)
    used.insert(task.cgroups().begin(), task.cgroups().end());
  Hierarchies machine = TRY(Hierarchies::look());
  for (const schema::CgroupHierarchy& record : image.cgroups)
    TRY_WHILE(prepare_hierarchy(record, request, machine), "cgroups of \"%s\"",
              record.controllers().c_str());
  TRY(set_properties(When::kAtOnce));
  for (Prepared& cgroup : cgroups) {
    const bool namespace_root = cgroup.path == hierarchies[cgroup.hierarchy].root_path;
    if (used.contains(cgroup.record->id()) || namespace_root) TRY(open_entrance(cgroup, fd_base));
  }
  return {};
}

// A task that was just killed leaves its cgroup a moment later.
void Cgroups::Impl::remove_made() {
  constexpr int kMostNaps = 1000;
  int naps = 0;
  for (auto at = made.rbegin(); at != made.rend(); ++at) {
    auto remove = [&] {
      return SYSCALL(
          ::unlinkat(hierarchies[at->hierarchy].root.get(), at->path.c_str() + 1, AT_REMOVEDIR),
          "rmdir");
    };
    for (Result<int> gone = remove();
         !gone.ok() && gone.error().os_error() == EBUSY && naps < kMostNaps;
         gone = remove(), naps++) {
      timespec pause{0, 1'000'000};
      ::nanosleep(&pause, nullptr);
    }
  }
  made.clear();
}

Result<> Cgroups::Impl::enter(uint32_t id, std::vector<uint32_t>* from) const {
  if (std::find(from->begin(), from->end(), id) != from->end()) return {};
  auto found = by_id.find(id);
  if (found == by_id.end()) return Error::malformed(strf("cgroup %u is missing", id));
  const Prepared& cgroup = cgroups[found->second];
  Result<ssize_t> moved =
      SYSCALL(::pwrite(cgroup.procs, "0", 1, 0), "enter cgroup %s of \"%s\"", cgroup.path.c_str(),
              hierarchies[cgroup.hierarchy].controllers.c_str());
  if (!moved.ok() && moved.error().os_error() == ENOSPC)
    return moved.take_error().while_doing("it has no CPU or no memory node (cpuset)");
  if (!moved.ok() && moved.error().os_error() == EBUSY)
    return moved.take_error().while_doing("its controllers are given to the cgroups below it");
  TRY(std::move(moved));
  std::erase_if(*from, [&](uint32_t other) {
    return cgroups[by_id.at(other)].hierarchy == cgroup.hierarchy;
  });
  from->push_back(id);
  return {};
}

const Prepared* Cgroups::Impl::find(const std::string& controllers, const std::string& path) const {
  for (const Prepared& cgroup : cgroups) {
    const PreparedHierarchy& hierarchy = hierarchies[cgroup.hierarchy];
    if (!same_controllers(hierarchy.record->controllers(), controllers)) continue;
    const std::string before = cgroup.record->outside()
                                   ? cgroup.record->path()
                                   : joined(hierarchy.record->root_path(), cgroup.record->path());
    if (before == path) return &cgroup;
  }
  return nullptr;
}

std::string root_path_for(const schema::CgroupHierarchy& hierarchy,
                          const std::vector<CgroupRoot>& roots) {
  for (const CgroupRoot& root : roots)
    if (same_controllers(root.controllers, hierarchy.controllers())) return root.path;
  for (const CgroupRoot& root : roots)
    if (root.controllers.empty()) return root.path;  // meant for all that no other names
  return hierarchy.root_path();
}

Cgroups::Cgroups(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Cgroups::Cgroups(Cgroups&&) noexcept = default;

Cgroups::~Cgroups() {
  if (impl_ == nullptr) return;
  for (const Prepared& cgroup : impl_->cgroups)
    if (cgroup.procs >= 0) ::close(cgroup.procs);
  impl_->remove_made();
}

Result<Cgroups> Cgroups::create(const Image& image, const RestoreRequest& request, int fd_base) {
  Cgroups cgroups(std::make_unique<Impl>());
  cgroups.impl_->mode = request.cgroups;
  if (request.cgroups == CgroupMode::kIgnore || image.cgroups.empty()) return cgroups;
  TRY(check_image(image));
  TRY(cgroups.impl_->prepare(image, request, fd_base));
  return cgroups;
}

Result<> Cgroups::enter(const schema::Task& record, std::vector<uint32_t>* from) const {
  if (impl_->cgroups.empty()) return {};
  for (uint32_t id : record.cgroups()) TRY(impl_->enter(id, from));
  return {};
}

Result<> Cgroups::enter_root_of(const schema::CgroupNamespace& space) const {
  for (const schema::CgroupNamespaceRoot& root : space.roots()) {
    const Prepared* cgroup = impl_->find(root.controllers(), root.path());
    if (cgroup == nullptr) continue;  // a hierarchy that is not recorded: we are there
    if (cgroup->procs < 0)
      return Error::unsupported(
          strf("a cgroup namespace's root is %s, which no task is in", cgroup->path.c_str()));
    std::vector<uint32_t> anywhere;
    TRY(impl_->enter(cgroup->record->id(), &anywhere));
  }
  return {};
}

Result<> Cgroups::Impl::place_thread(const schema::Thread& thread, pid_t tid) const {
  for (uint32_t id : thread.cgroups()) {
    auto found = by_id.find(id);
    if (found == by_id.end()) return Error::malformed(strf("cgroup %u is missing", id));
    const Prepared& cgroup = cgroups[found->second];
    const char* file = cgroup.version == Version::kV1 ? "tasks" : "cgroup.threads";
    TRY_WHILE(write_text(cgroup.directory, file, std::to_string(tid)), "thread %d into cgroup %s",
              tid, cgroup.path.c_str());
  }
  return {};
}

Result<> Cgroups::finish(const std::vector<BornTask>& tasks) {
  if (impl_->cgroups.empty()) return {};
  for (const auto& [task, pid, depth] : tasks) {
    const bool together = std::all_of(task->threads().begin(), task->threads().end(),
                                      [](const auto& thread) { return thread.cgroups().empty(); });
    if (together) continue;
    const std::unordered_map<pid_t, pid_t> numbers = TRY(outer_threads(pid, depth));
    for (const schema::Thread& thread : task->threads()) {
      auto outer = numbers.find(thread.tid());
      if (outer == numbers.end())
        return Error::gone(strf("thread %d of process %d is not there", thread.tid(), pid));
      TRY(impl_->place_thread(thread, outer->second));
    }
  }
  return impl_->set_properties(When::kLate);
}

void Cgroups::keep() { impl_->made.clear(); }

}  // namespace ncr::cgroup
