// A file system is read through its mounts, those that show most of it first. A mount that others
// cover is uncovered in a copy of the namespace (covered_mounts.h). Engine.
#include "engine/resources/mount_namespace/content_reader.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "engine/resources/autofs/autofs.h"
#include "engine/resources/mount_namespace/covered_mounts.h"
#include "engine/resources/mount_namespace/memory_files.h"
#include "engine/resources/mount_namespace/mount_calls.h"
#include "engine/resources/mount_namespace/mount_table.h"

namespace ncr::mount_namespace {
namespace {

constexpr const char* kMustBeEmpty[] = {"mqueue", "hugetlbfs", "bpf"};

class ContentReader {
 public:
  ContentReader(const NamespaceProbe& probe, const std::vector<MountLine>& lines,
                const MountLine* brought, schema::MountNamespace* record, Blockers& blockers)
      : probe_(probe), lines_(lines), brought_(brought), record_(record), blockers_(blockers) {
    for (const MountLine& line : lines) parents_.insert(line.parent);
  }

  Result<> read_all() {
    for (schema::MountedFileSystem& file_system : *record_->mutable_file_systems())
      for (const schema::Mount* mount : parts_of(file_system)) TRY(open(*mount));
    for (const schema::Mount& mount : record_->mounts())
      if (is_removed(mount)) TRY(open(mount));
    TRY(open_covered());
    for (schema::Mount& mount : *record_->mutable_mounts())
      if (is_removed(mount)) TRY(read_removed_root(&mount));
    for (schema::MountedFileSystem& file_system : *record_->mutable_file_systems()) {
      if (is_in_memory(file_system.type()) || file_system.has_autofs())
        TRY(read(&file_system));
      else
        TRY(check_empty(file_system));
    }
    return {};
  }

 private:
  // A restore gets it from outside.
  bool is_given(const schema::MountedFileSystem& file_system) const {
    return file_system.origin() != schema::MountedFileSystem::MADE ||
           (brought_ != nullptr && brought_->device == file_system.device());
  }

  static bool is_removed(const schema::Mount& mount) {
    return mount.has_removed() && !mount.external();
  }

  Result<> read_removed_root(schema::Mount* mount) {
    auto opened = opened_.find(mount->id());
    const schema::MountedFileSystem& file_system =
        record_->file_systems(static_cast<int>(mount->file_system()) - 1);
    Result<> read = Error::unsupported("what it shows was removed, and cannot be reached");
    if (opened != opened_.end())
      read = read_removed(opened->second, probe_.member.proc, probe_.content,
                          mount->mutable_removed());
    if (!read.ok())
      refuse(*mount, file_system, read.error().text().c_str(), "unmount it before the dump");
    return {};
  }

  // The mounts that together show all of it that can be seen, upper parts first.
  std::vector<const schema::Mount*> parts_of(const schema::MountedFileSystem& file_system) const {
    const bool looked_at =
        is_in_memory(file_system.type()) || file_system.has_autofs() ||
        std::any_of(std::begin(kMustBeEmpty), std::end(kMustBeEmpty),
                    [&](const char* type) { return file_system.type() == type; });
    if (!looked_at || is_given(file_system)) return {};
    std::vector<const schema::Mount*> mounts;
    for (const schema::Mount& mount : record_->mounts())
      if (mount.file_system() == file_system.id() && !mount.external() && !mount.has_removed())
        mounts.push_back(&mount);
    std::stable_sort(mounts.begin(), mounts.end(), [](const auto* a, const auto* b) {
      return a->root().size() < b->root().size();
    });
    std::vector<const schema::Mount*> parts;
    for (const schema::Mount* mount : mounts) {
      bool shown = std::any_of(parts.begin(), parts.end(), [&](const schema::Mount* part) {
        return is_below(mount->root(), part->root());
      });
      if (!shown) parts.push_back(mount);
    }
    return parts;
  }

  Result<> open(const schema::Mount& mount) {
    Result<Fd> top = sys::open(mount.point().c_str(), O_PATH | O_NOFOLLOW);
    if (!top.ok() || TRY(mount_id_of(top.value())) != mount.id()) {
      covered_.insert(mount.id());
      return {};
    }
    // A copy has nothing mounted on it, but costs the kernel a millisecond when it is closed. Who
    // may not have one reads around what is mounted.
    Fd& opened = opened_[mount.id()];
    opened = top.take();
    if (!parents_.contains(mount.id())) return {};
    Result<Fd> alone = copy_mount(opened);
    if (alone.ok()) opened = alone.take();
    return {};
  }

  Result<> open_covered() {
    if (covered_.empty()) return {};
    Result<std::map<uint32_t, Fd>> taken = uncover(lines_, probe_.fd, probe_.member.proc, covered_);
    if (!taken.ok()) return {};  // refused by name when it is read
    for (auto& [id, fd] : taken.value()) opened_[id] = std::move(fd);
    return {};
  }

  Result<> read(schema::MountedFileSystem* file_system) {
    MemoryFiles files(probe_.content, file_system);
    for (const schema::Mount* mount : parts_of(*file_system)) {
      auto opened = opened_.find(mount->id());
      if (opened == opened_.end())
        refuse(*mount, *file_system, "its files cannot be read: another mount covers it",
               "unmount what covers it before the dump");
      else if (file_system->has_autofs())
        TRY(read_autofs(*mount, opened->second, file_system));
      else
        TRY_WHILE(files.add(opened->second, mount->root(), probe_.member.proc), "files of %s",
                  mount->point().c_str());
    }
    return {};
  }

  Result<> read_autofs(const schema::Mount& mount, const Fd& top,
                       schema::MountedFileSystem* file_system) {
    Result<> read = Error::unsupported("all of it is shown nowhere");
    if (mount.root() == "/") read = autofs::read_nodes(top, probe_.member.proc, file_system);
    if (!read.ok())
      refuse(mount, *file_system, read.error().text().c_str(), "unmount it before the dump");
    return {};
  }

  // Queues are of an ipc namespace: mounted again in that one, it shows them again.
  Result<bool> shows_queues_of_root(const schema::MountedFileSystem& file_system) {
    if (file_system.type() != "mqueue" || parts_of(file_system).empty()) return false;
    if (!device_of_queues_) device_of_queues_ = TRY(device_of_queues());
    return file_system.device() == *device_of_queues_;
  }

  Result<uint64_t> device_of_queues() const {
    Fd here = TRY(sys::open_at(probe_.member.proc, "../thread-self/ns/ipc", O_RDONLY));
    Fd there = TRY(sys::open_at(probe_.tasks.front().proc, "ns/ipc", O_RDONLY));
    TRY(SYSCALL(::setns(there.get(), CLONE_NEWIPC), "enter the ipc namespace of the root"));
    schema::MountedFileSystem queues;
    queues.set_type("mqueue");
    Result<Fd> made = make_file_system(queues);
    TRY(SYSCALL(::setns(here.get(), CLONE_NEWIPC), "leave it"));
    struct stat status {};
    const Fd root = TRY(std::move(made));
    TRY(SYSCALL(::fstat(root.get(), &status), "stat of an mqueue"));
    return status.st_dev;
  }

  Result<> check_empty(const schema::MountedFileSystem& file_system) {
    if (TRY(shows_queues_of_root(file_system))) return {};
    for (const schema::Mount* mount : parts_of(file_system)) {
      auto opened = opened_.find(mount->id());
      if (opened == opened_.end()) continue;
      bool empty = TRY(is_empty_directory(opened->second));
      if (!empty)
        refuse(*mount, file_system, "there are files in it that the image cannot hold",
               "remove them first");
    }
    return {};
  }

  void refuse(const schema::Mount& mount, const schema::MountedFileSystem& file_system,
              const char* reason, const char* way_out) {
    blockers_.add(probe_.member,
                  strf("mount %s (%s)", mount.point().c_str(), file_system.type().c_str()), reason,
                  way_out);
  }

  const NamespaceProbe& probe_;
  const std::vector<MountLine>& lines_;
  const MountLine* brought_;
  schema::MountNamespace* record_;
  Blockers& blockers_;
  std::map<uint32_t, Fd> opened_;  // by id of the mount
  std::set<uint32_t> covered_;
  std::optional<uint64_t> device_of_queues_;  // of the root of the tree
  std::set<uint32_t> parents_;                // ids of mounts that have others on them
};

}  // namespace

Result<> read_content(const NamespaceProbe& probe, const std::vector<MountLine>& lines,
                      const MountLine* brought, schema::MountNamespace* record,
                      Blockers& blockers) {
  return ContentReader(probe, lines, brought, record, blockers).read_all();
}

}  // namespace ncr::mount_namespace
