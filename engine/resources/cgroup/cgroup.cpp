// Cgroups (struct cgroup; a task's are in its css_set). There is one tree of them per hierarchy, in
// each of which a thread is in exactly one; a process's threads may differ in v1 and below a
// threaded cgroup of v2. /proc/PID/cgroup shows them below the root of the reader's cgroup
// namespace, as long as the process is no zombie. What belongs to a tree: the cgroups its tasks are
// in, and whatever is at or below the cgroup of its root task (of that task's cgroup namespace, if
// it has one: there, a container's own manager lives), unless others live there. Runs in the
// engine.
//
// Userspace cannot see BPF programs attached to a cgroup (device filters of v2) as more than an id:
// they are whoever's makes the cgroup. The freezer's state is not restored: a restored tree runs.
#include "engine/resources/cgroup/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <set>

#include "engine/base/quiet_thread.h"
#include "engine/resources/cgroup/hierarchies.h"
#include "engine/resources/cgroup/properties.h"
#include "engine/resources/room.h"

namespace ncr::cgroup {
namespace {

constexpr size_t kMostCgroups = 20'000;  // of one hierarchy

// Where a thread or a process of the tree is.
struct Place {
  size_t task = 0;
  int thread = -1;  // -1: the process
  std::vector<Membership> memberships;
};

Result<std::vector<std::string>> names_in(const Fd& directory) {
  Fd copy = TRY(sys::open_at(directory, ".", O_RDONLY | O_DIRECTORY));
  DIR* listing = ::fdopendir(copy.get());
  if (listing == nullptr) return Error::system(ENOMEM, "list a cgroup");
  (void)copy.release();
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(listing))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  ::closedir(listing);
  std::sort(names.begin(), names.end());
  return names;
}

void describe_owner(const char* name, const struct stat& status, schema::CgroupOwner* owner) {
  owner->set_name(name);
  owner->set_mode(status.st_mode & 07777);
  owner->set_uid(status.st_uid);
  owner->set_gid(status.st_gid);
}

bool is_the_kernels_choice(const struct stat& status) {
  const unsigned mode = status.st_mode & 07777;
  return status.st_uid == 0 && status.st_gid == 0 &&
         (mode == 0644 || mode == 0444 || mode == 0200 || mode == 0222 || mode == 0);
}

// One hierarchy's record being made.
class Walk {
 public:
  Walk(Version version, Fd root, schema::CgroupHierarchy* record, const std::set<pid_t>& ours)
      : version_(version), root_(std::move(root)), record_(record), ours_(ours) {}

  // What is at and below the tree's root. At the hierarchy's own root that would be everybody's.
  Result<> below_root() {
    TRY(add(record_->root_path()));
    return record_->root_path() == "/" ? Result<>() : look_below(record_->root_path());
  }
  // A cgroup that a task is in, and those on the way to it.
  Result<> add_path(const std::string& path) {
    std::string below;
    if (path_below(path, record_->root_path(), &below))
      for (size_t at = below.find('/', 1); at < below.size(); at = below.find('/', at + 1))
        TRY(add(joined(record_->root_path(), below.substr(0, at))));
    return add(path);
  }
  Result<> read_all() {
    for (auto& [path, cgroup] : found_)
      if (path != "/") TRY_WHILE(read(path, &cgroup), "cgroup %s", path.c_str());
    return {};
  }
  // Ids follow the order of paths, so parents come first.
  void number(uint32_t* next_id) {
    for (auto& [path, cgroup] : found_) {
      cgroup.set_id((*next_id)++);
      ids_[path] = cgroup.id();
      *record_->add_cgroups() = cgroup;
    }
  }
  uint32_t id_of(const std::string& path) const { return ids_.at(path); }

 private:
  Result<> add(const std::string& path) {
    if (found_.size() == kMostCgroups)
      return Error::unsupported(
          strf("more than %zu cgroups below %s", kMostCgroups, record_->root_path().c_str()));
    schema::Cgroup& cgroup = found_[path];
    std::string below;
    if (path_below(path, record_->root_path(), &below)) {
      cgroup.set_path(below);
    } else {
      cgroup.set_path(path);
      cgroup.set_outside(true);
    }
    return {};
  }

  Result<> look_below(const std::string& path) {
    Fd directory = TRY(open_cgroup(root_, path));
    const std::vector<std::string> names = TRY(names_in(directory));
    for (const std::string& name : names) {
      struct stat status {};
      if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
          !S_ISDIR(status.st_mode))
        continue;
      const std::string child = joined(path, "/" + name);
      if (others_live_in(child)) continue;
      TRY(add(child));
      TRY(look_below(child));
    }
    return {};
  }

  bool others_live_in(const std::string& path) const {
    Result<Fd> directory = open_cgroup(root_, path);
    if (!directory.ok()) return true;  // removed meanwhile, by others
    Result<std::string> text = sys::read_file_at(directory.value(), "cgroup.procs");
    if (!text.ok()) return false;  // a threaded cgroup does not tell; its domain did
    for (std::string_view line : split(text.value(), '\n'))
      if (!ours_.contains(static_cast<pid_t>(std::strtol(std::string(line).c_str(), nullptr, 10))))
        return true;
    return false;
  }

  Result<> read(const std::string& path, schema::Cgroup* cgroup) const {
    Fd directory = TRY(open_cgroup(root_, path));
    std::string controllers = record_->controllers();
    if (version_ == Version::kV2) {
      controllers = TRY(sys::read_file_at(directory, "cgroup.controllers"));
      std::replace(controllers.begin(), controllers.end(), ' ', ',');
      while (controllers.ends_with("\n")) controllers.pop_back();
      const std::string type = TRY(sys::read_file_at(directory, "cgroup.type"));
      cgroup->set_threaded(type == "threaded\n");
    }
    TRY(read_properties(directory, version_, controllers, cgroup));
    return read_owners(directory, cgroup);
  }

  static Result<> read_owners(const Fd& directory, schema::Cgroup* cgroup) {
    struct stat status {};
    TRY(SYSCALL(::fstat(directory.get(), &status), "fstat"));
    describe_owner("", status, cgroup->mutable_owner());
    const std::vector<std::string> names = TRY(names_in(directory));
    for (const std::string& name : names)
      if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
          S_ISREG(status.st_mode) && !is_the_kernels_choice(status))
        describe_owner(name.c_str(), status, cgroup->add_files());
    return {};
  }

  Version version_;
  Fd root_;
  schema::CgroupHierarchy* record_;
  const std::set<pid_t>& ours_;
  std::map<std::string, schema::Cgroup> found_;
  std::map<std::string, uint32_t> ids_;
};

// Who is in other cgroups than we are. Threads are looked at where their process is elsewhere:
// whoever moves single threads (a manager of virtual machines) moves the process first.
Result<std::vector<Place>> places_of(const std::vector<Task>& tasks, Blockers& blockers) {
  const std::string own = TRY(sys::read_file("/proc/thread-self/cgroup"));
  std::vector<Place> places;
  bool all_here = true;
  for (size_t i = 0; i < tasks.size(); i++) {
    const Task& task = tasks[i];
    if (!task.alive()) continue;
    const std::string text = TRY(sys::read_file_at(task.proc, "cgroup"));
    places.push_back({i, -1, TRY(parse_memberships(text))});
    if (text == own) continue;
    all_here = false;
    for (const Membership& one : places.back().memberships)
      if (!is_plain_path(one.path))
        blockers.add(task, strf("cgroup %s", one.path.c_str()),
                     "it is outside the engine's cgroup namespace",
                     "run the engine outside the container");
    for (size_t thread = 1; thread < task.threads.size(); thread++) {
      const std::string other = TRY(
          sys::read_file_at(task.proc, strf("task/%d/cgroup", task.threads[thread].tid()).c_str()));
      if (other == text) continue;
      places.push_back({i, static_cast<int>(thread), TRY(parse_memberships(other))});
    }
  }
  if (all_here) places.clear();
  return places;
}

const std::string* path_in(const Place& place, const std::string& controllers) {
  for (const Membership& one : place.memberships)
    if (one.controllers == controllers) return &one.path;
  return nullptr;
}

// The root of the tree in a hierarchy: that of the root task's cgroup namespace, if it has its own
// and is inside.
Result<std::vector<Membership>> roots_of(const Task& root, const Place& place) {
  std::vector<Membership> roots = place.memberships;
  Fd self = TRY(sys::open("/proc/thread-self", O_PATH));
  const std::string own = TRY(sys::read_link_at(self, "ns/cgroup"));
  const std::string theirs = TRY(sys::read_link_at(root.proc, "ns/cgroup"));
  if (own == theirs) return roots;
  Fd space = TRY(sys::open_at(root.proc, "ns/cgroup", O_RDONLY));
  const std::string text = TRY(memberships_seen_from(space, root.proc));
  const std::vector<Membership> inner = TRY(parse_memberships(text));
  for (Membership& one : roots)
    for (const Membership& seen : inner)
      if (seen.controllers == one.controllers && is_plain_path(seen.path))
        (void)path_above(one.path, seen.path, &one.path);
  return roots;
}

Result<> dump_hierarchy(const Membership& top, const std::vector<Place>& places, Walk& walk) {
  TRY(walk.below_root());
  for (const Place& place : places) {
    const std::string* path = path_in(place, top.controllers);
    if (path != nullptr) TRY(walk.add_path(*path));
  }
  return {};
}

void note(const std::vector<Place>& places, const std::string& controllers, const Walk& walk,
          std::vector<schema::Task>& records) {
  for (const Place& place : places) {
    const std::string* path = path_in(place, controllers);
    if (path == nullptr) continue;
    schema::Task& record = records[place.task];
    if (place.thread < 0)
      record.add_cgroups(walk.id_of(*path));
    else
      record.mutable_threads(place.thread)->add_cgroups(walk.id_of(*path));
  }
}

bool all_are_at(const std::vector<Place>& places, const Membership& own) {
  return std::all_of(places.begin(), places.end(), [&](const Place& place) {
    const std::string* path = path_in(place, own.controllers);
    return path == nullptr || *path == own.path;
  });
}

}  // namespace

extern const TaskRoom kRoom = {.name = "cgroup"};  // what it says, it says of the whole tree

Result<std::string> memberships_seen_from(const Fd& cgroup_namespace, const Fd& proc) {
  Result<std::string> text = Error::gone("no thread");
  {
    QuietThread visitor([&] {
      Result<int> entered =
          SYSCALL(::setns(cgroup_namespace.get(), CLONE_NEWCGROUP), "enter a cgroup namespace");
      text = entered.ok() ? sys::read_file_at(proc, "cgroup") : entered.take_error();
    });
  }
  return text;
}

Result<> dump(const std::vector<Task>& tasks, CgroupMode mode, std::vector<schema::Task>& records,
              std::vector<schema::CgroupHierarchy>* hierarchies, Blockers& blockers) {
  if (mode == CgroupMode::kIgnore) return {};
  const std::vector<Place> places = TRY(places_of(tasks, blockers));
  if (places.empty() || !blockers.empty()) return {};
  std::set<pid_t> ours;
  for (const Task& task : tasks) ours.insert(task.pid);
  Hierarchies machine = TRY(Hierarchies::look());
  const std::vector<Membership> roots = TRY(roots_of(tasks.front(), places.front()));
  uint32_t next_id = 1;
  for (const Membership& root : roots) {
    const Membership* own = machine.own_in(root.controllers);
    if (own == nullptr || all_are_at(places, *own)) continue;
    schema::CgroupHierarchy record;
    record.set_id(static_cast<uint32_t>(hierarchies->size() + 1));
    record.set_controllers(root.controllers);
    record.set_root_path(root.path);
    const std::string what = strf("cgroups of \"%s\"", root.controllers.c_str());
    Fd directory = TRY_WHILE(machine.open_root(root.controllers), "%s", what.c_str());
    Walk walk(root.controllers.empty() ? Version::kV2 : Version::kV1, std::move(directory), &record,
              ours);
    TRY_WHILE(dump_hierarchy(root, places, walk), "%s", what.c_str());
    if (mode != CgroupMode::kNone) TRY_WHILE(walk.read_all(), "%s", what.c_str());
    walk.number(&next_id);
    note(places, root.controllers, walk, records);
    hierarchies->push_back(std::move(record));
  }
  return {};
}

Result<> check_image(const Image& image) {
  std::set<uint32_t> ids;
  for (const schema::CgroupHierarchy& hierarchy : image.cgroups) {
    if (!is_plain_path(hierarchy.root_path())) return Error::malformed("a cgroup's path is none");
    for (const schema::Cgroup& cgroup : hierarchy.cgroups()) {
      const bool root = cgroup.path().empty() && !cgroup.outside();
      if (!root && !is_plain_path(cgroup.path()))
        return Error::malformed("a cgroup's path is none");
      if (!ids.insert(cgroup.id()).second)
        return Error::malformed(strf("two cgroups have id %u", cgroup.id()));
      const Version version = hierarchy.controllers().empty() ? Version::kV2 : Version::kV1;
      for (const schema::CgroupProperty& property : cgroup.properties())
        (void)TRY(writes_of(version, property));
      for (const schema::CgroupOwner& file : cgroup.files())
        if (file.name().find('/') != std::string::npos || !is_plain_path("/" + file.name()))
          return Error::malformed("a file of a cgroup has an impossible name");
    }
  }
  for (const schema::Task& task : image.tasks) {
    for (uint32_t id : task.cgroups())
      if (!ids.contains(id))
        return Error::malformed(strf("task %d is in cgroup %u, which is missing", task.pid(), id));
    for (const schema::Thread& thread : task.threads())
      for (uint32_t id : thread.cgroups())
        if (!ids.contains(id))
          return Error::malformed(
              strf("thread %d is in cgroup %u, which is missing", thread.tid(), id));
  }
  return {};
}

}  // namespace ncr::cgroup
