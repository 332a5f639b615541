// Runs in the engine. The tasks stand still, and with them what they have of cgroups; how those are
// set is read on the side.
#include "engine/resources/cgroup/cgroup_dump.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "engine/resources/cgroup/cgroup.h"
#include "engine/resources/cgroup/hierarchies.h"
#include "engine/resources/cgroup/properties.h"

namespace ncr::cgroup {
namespace {

constexpr size_t kMostCgroups = 20'000;  // of one hierarchy

Result<std::vector<std::string>> names_in(const Fd& directory, unsigned char type) {
  Fd copy = TRY(sys::open_at(directory, ".", O_RDONLY | O_DIRECTORY));
  DIR* listing = ::fdopendir(copy.get());
  if (listing == nullptr) return Error::system(ENOMEM, "list a cgroup");
  (void)copy.release();
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(listing))
    if (entry->d_type == type && entry->d_name[0] != '.') names.emplace_back(entry->d_name);
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

}  // namespace

// One hierarchy's record being made.
class CgroupDump::Walk {
 public:
  Walk(Fd root, const std::set<pid_t>& ours, schema::CgroupHierarchy record)
      : version_(record.controllers().empty() ? Version::kV2 : Version::kV1),
        root_(std::move(root)),
        ours_(ours),
        record_(std::move(record)) {}

  // What is at and below the tree's root. At the hierarchy's own root that would be everybody's.
  Result<> below_root() {
    TRY(add(record_.root_path()));
    return record_.root_path() == "/" ? Result<>() : look_below(record_.root_path());
  }
  // A cgroup that a task is in, and those on the way to it.
  Result<> add_path(const std::string& path) {
    std::string below;
    if (path_below(path, record_.root_path(), &below))
      for (size_t at = below.find('/', 1); at < below.size(); at = below.find('/', at + 1))
        TRY(add(joined(record_.root_path(), below.substr(0, at))));
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
      *record_.add_cgroups() = cgroup;
    }
  }
  uint32_t id_of(const std::string& path) const { return ids_.at(path); }
  const schema::CgroupHierarchy& record() const { return record_; }

 private:
  Result<> add(const std::string& path) {
    if (found_.size() == kMostCgroups)
      return Error::unsupported(
          strf("more than %zu cgroups below %s", kMostCgroups, record_.root_path().c_str()));
    schema::Cgroup& cgroup = found_[path];
    std::string below;
    if (path_below(path, record_.root_path(), &below)) {
      cgroup.set_path(below);
    } else {
      cgroup.set_path(path);
      cgroup.set_outside(true);
    }
    return {};
  }

  Result<> look_below(const std::string& path) {
    Fd directory = TRY(open_cgroup(root_, path));
    const std::vector<std::string> names = TRY(names_in(directory, DT_DIR));
    for (const std::string& name : names) {
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
    std::string controllers = record_.controllers();
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
    const std::vector<std::string> names = TRY(names_in(directory, DT_REG));
    for (const std::string& name : names)
      if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
          !is_the_kernels_choice(status))
        describe_owner(name.c_str(), status, cgroup->add_files());
    return {};
  }

  Version version_;
  Fd root_;
  const std::set<pid_t>& ours_;
  schema::CgroupHierarchy record_;
  std::map<std::string, schema::Cgroup> found_;
  std::map<std::string, uint32_t> ids_;
};

namespace {

using Place = CgroupDump::Place;

// Who is in other cgroups than we are. Threads are looked at where their process is elsewhere:
// whoever moves single threads (a manager of virtual machines) moves the process first.
Result<std::vector<Place>> places_of(const std::vector<Task>& tasks, Blockers& blockers) {
  const std::string own = TRY(sys::read_file("/proc/thread-self/cgroup"));
  std::vector<Place> places;
  bool all_here = true;
  for (size_t i = 0; i < tasks.size(); i++) {
    const Task& task = tasks[i];
    if (!task.alive()) continue;
    const std::string& text = *TRY(task.proc_text("cgroup"));
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

bool all_are_at(const std::vector<Place>& places, const Membership& own) {
  return std::all_of(places.begin(), places.end(), [&](const Place& place) {
    const std::string* path = path_in(place, own.controllers);
    return path == nullptr || *path == own.path;
  });
}

}  // namespace

CgroupDump::CgroupDump() = default;
CgroupDump::~CgroupDump() = default;

Result<> CgroupDump::look(const std::vector<Task>& tasks, CgroupMode mode, Blockers& blockers) {
  if (mode == CgroupMode::kIgnore) return {};
  places_ = TRY(places_of(tasks, blockers));
  if (places_.empty() || !blockers.empty()) return {};
  for (const Task& task : tasks) ours_.insert(task.pid);
  Hierarchies machine = TRY(Hierarchies::look());
  const std::vector<Membership> roots = TRY(roots_of(tasks.front(), places_.front()));
  for (const Membership& root : roots) {
    const Membership* own = machine.own_in(root.controllers);
    if (own == nullptr || all_are_at(places_, *own)) continue;
    const std::string what = strf("cgroups of \"%s\"", root.controllers.c_str());
    Fd directory = TRY_WHILE(machine.open_root(root.controllers), "%s", what.c_str());
    schema::CgroupHierarchy record;
    record.set_id(static_cast<uint32_t>(walks_.size() + 1));
    record.set_controllers(root.controllers);
    record.set_root_path(root.path);
    walks_.push_back(std::make_unique<Walk>(std::move(directory), ours_, std::move(record)));
    TRY_WHILE(find_cgroups(*walks_.back()), "%s", what.c_str());
  }
  if (mode != CgroupMode::kNone) reading_.begin([this] { read_ = read(); });
  return {};
}

Result<> CgroupDump::find_cgroups(Walk& walk) const {
  TRY(walk.below_root());
  for (const Place& place : places_) {
    const std::string* path = path_in(place, walk.record().controllers());
    if (path != nullptr) TRY(walk.add_path(*path));
  }
  return {};
}

Result<> CgroupDump::read() {
  for (const std::unique_ptr<Walk>& walk : walks_)
    TRY_WHILE(walk->read_all(), "cgroups of \"%s\"", walk->record().controllers().c_str());
  return {};
}

Result<> CgroupDump::finish(std::vector<schema::Task>& records,
                            std::vector<schema::CgroupHierarchy>* hierarchies) {
  reading_.finish();
  TRY(std::move(read_));
  uint32_t next_id = 1;
  for (const std::unique_ptr<Walk>& walk : walks_) {
    walk->number(&next_id);
    note(*walk, records);
    hierarchies->push_back(walk->record());
  }
  return {};
}

void CgroupDump::note(const Walk& walk, std::vector<schema::Task>& records) const {
  for (const Place& place : places_) {
    const std::string* path = path_in(place, walk.record().controllers());
    if (path == nullptr) continue;
    schema::Task& record = records[place.task];
    if (place.thread < 0)
      record.add_cgroups(walk.id_of(*path));
    else
      record.mutable_threads(place.thread)->add_cgroups(walk.id_of(*path));
  }
}

}  // namespace ncr::cgroup
