// The two contracts of a room: a kind of state that every task has (TaskRoom), a kind of object
// behind a descriptor (FdRoom). A room is one folder with one of these tables, and one line in
// rooms.inc. A hook that a room does not need stays null.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/sys.h"
#include "engine/image/image_reader.h"
#include "engine/resources/blockers.h"
#include "engine/resources/step_list.h"
#include "engine/tracee/batch.h"
#include "engine/tree/frozen_tree.h"
#include "engine/tree/mount_view.h"
#include "namespace.pb.h"
#include "open_file.pb.h"
#include "task.pb.h"

namespace ncr {

class FileTable;  // engine/resources/file_table.h: identity of open file descriptions during a dump
class SharedMemoryTable;    // engine/memory/shared_memory_table.h: where bulk content goes
class SharedMemoryObjects;  // engine/resources/shared_memory/shared_memory.h
class FileRestorer;         // engine/resources/file_restorer.h: the files of one task being born
namespace tun {
class DeviceDesk;  // engine/resources/tun/device_desk.h
}

// ---- State of a task
// -------------------------------------------------------------------------------------------------

// A task being born, our code still mapped, threads not made yet (runs in the child).
struct ChildTask {
  const schema::Task& record;
  const RestoreRequest& request;
  const FileRestorer* files = nullptr;  // opened, at their service numbers; null in a unit test
};

struct TaskRoom {
  const char* name = nullptr;

  // Dump, engine, on any thread: what the hooks below ask of /proc is read into the task's
  // snapshot, several tasks at a time. A failure shows when they ask.
  void (*read_ahead)(const Task&) = nullptr;

  // Dump, before anything is touched: names what this room cannot do. Runs in the engine, with
  // every thread stopped in its own registers.
  Result<> (*preflight)(const Task&, Blockers&) = nullptr;

  // Dump, engine: what /proc and ptrace tell, with the thread in its own registers.
  Result<> (*look)(const Task&, schema::Task*) = nullptr;
  Result<> (*look_thread)(const Task&, const SeizedThread&, schema::Thread*) = nullptr;
  // The same, once the record has the task's mappings.
  Result<> (*look_mapped)(const Task&, schema::Task*) = nullptr;

  // Dump, engine: what to ask inside the target (once per process; once in every thread), and what
  // the answers were. A command appears at most once per batch.
  void (*ask)(const Task&, const schema::Task&, Batch&) = nullptr;
  Result<> (*read)(const Task&, const Batch&, schema::Task*) = nullptr;
  void (*ask_thread)(const Task&, const schema::Thread&, Batch&) = nullptr;
  Result<> (*read_thread)(const Task&, const Batch&, schema::Thread*) = nullptr;

  // Restore, coordinator, pure: what the restorer is to do.
  Result<> (*plan)(const schema::Task&, StepList&) = nullptr;
  Result<> (*plan_thread)(const schema::Task&, const schema::Thread&, StepList&) = nullptr;

  // Restore, child: what is easier with our code still there.
  Result<> (*restore)(const ChildTask&) = nullptr;
};

// ---- Objects behind descriptors
// ---------------------------------------------------------------------------------------

// A descriptor of a stopped task, opened up. `local` is our own duplicate (pidfd_getfd): same open
// file description.
struct FdProbe {
  const Task* task = nullptr;  // null for a file found in flight or behind a mapping
  FdNumber number{-1};
  Fd local;
  struct stat stat {};
  std::string link;       // readlink of /proc/PID/fd/N
  std::string fdinfo;     // /proc/PID/fdinfo/N
  uint64_t position = 0;  // of fdinfo
  uint32_t flags = 0;     // of fdinfo: O_*, without O_CLOEXEC
  int mount_id = 0;
  const MountView* view = nullptr;    // where `link` is looked up; null: as the engine sees paths
  const MountViews* views = nullptr;  // of the tree

  // Whether the file is what `path` names, in the namespace of its holder.
  bool is_at(const std::string& path) const;
  std::string where() const;  // "fd 7 (/path)", for messages
};

// A file of the tree and who was seen to hold it, one for each descriptor: `holder` is null for one
// in flight in a socket or behind a mapping.
struct SeenFile {
  const schema::OpenFile* record = nullptr;
  const Task* holder = nullptr;
  FdNumber number{-1};
};

struct FdRoom {
  const char* name = nullptr;
  schema::OpenFile::KindCase kind{};

  bool (*recognises)(const FdProbe&) = nullptr;
  // Names what of this object cannot be restored. Null: everything can. What has a blocker is not
  // dumped.
  Result<> (*preflight)(const FdProbe&, Blockers&) = nullptr;
  // `files` gives ids to other files that this one refers to (targets of an epoll, descriptors in
  // flight).
  Result<> (*dump)(FileTable& files, const FdProbe&, schema::OpenFile*) = nullptr;

  // Once the tree may run again: what of a mapped file (opened with O_PATH) is the same then.
  Result<> (*finish)(const Fd& mapped, schema::OpenFile*) = nullptr;

  // Once all files of the tree are known, before anything is touched: names what reaches outside
  // the tree (the other end of a pipe, of a socket, of a terminal).
  Result<> (*check)(const std::vector<SeenFile>& all, const DumpRequest&, Blockers&) = nullptr;

  // Restore, owner task (docs/adr/0004): makes the object. Files that belong together are found in
  // `files` by group.
  Result<Fd> (*open)(FileRestorer& files, const schema::OpenFile&) = nullptr;
  // Restore, owner task, after every file of this task was opened: connects it to others (epoll
  // targets, bytes and descriptors in flight).
  Result<> (*connect)(FileRestorer& files, const schema::OpenFile&, const Fd&) = nullptr;
  // Restore, instead of `open`: makes what cannot be there before every process of the tree exists.
  // Called in each task that has the file, which gets one of its own.
  Result<Fd> (*open_late)(FileRestorer& files, const schema::OpenFile&) = nullptr;
  // Restore, owner task, after that: connects the file to those that are made late.
  Result<> (*connect_late)(FileRestorer& files, const schema::OpenFile&, const Fd&) = nullptr;
  // Restore, coordinator, pure: steps for the restorer of the first task that uses the file, at its
  // final number there.
  Result<> (*late)(const schema::OpenFile&, FdNumber number, StepList&) = nullptr;
};

// ---- Namespaces (docs/adr/0011)

// What a room has opened in a namespace before the tree was stopped.
struct Prepared {
  virtual ~Prepared() = default;
};

// A namespace of the tree that is not the engine's own.
struct NamespaceProbe {
  const std::vector<Task>& tasks;  // all of the tree
  const Task& member;              // a live task in it: its /proc shows the namespace
  Fd fd;                           // of nsfs
  const DumpRequest& request;
  SharedMemoryTable& content;  // bulk data (files of a tmpfs, System V segments)
  const Prepared* prepared;    // by the same room; null: nothing
  // Gives the id of a namespace that this one refers to, whoever is in it; 0: the engine's own.
  // `where` is for messages. Null where dump runs beside others.
  std::function<Result<uint32_t>(const Fd& nsfs, const std::string& where)> refer = nullptr;
  // The id of a pid namespace below that of the tree's root; 0: it is another one. Null like
  // `refer`.
  std::function<uint32_t(uint64_t inode)> nested_pids = nullptr;
  std::vector<int> deserted = {};  // of nsfs: namespaces of the tree that no task is in
  uint64_t engines = 0;            // inode of the engine's own of this kind; 0: there is none
  bool of_root = true;             // the root of the tree is in it
  bool below = false;  // it belongs to a user namespace below that of the root of the tree
};

// What a room keeps of a namespace that cannot be filled at once.
struct HalfBuilt {
  virtual ~HalfBuilt() = default;
};

namespace autofs {
// One that is to get its daemon back.
struct Open {
  Fd top;     // its root
  Fd device;  // /dev/autofs
};
}  // namespace autofs

// A namespace that the root task of a restored tree has just made, and is in.
struct NamespaceBuild {
  const Image& image;
  const RestoreRequest& request;
  const SharedMemoryObjects& content;
  const schema::Namespace& record;
  // To a mount namespace of the tree, by id.
  std::function<Result<>(uint32_t)> enter_mounts = nullptr;
  // Of another one of the kind that was made; or -1.
  std::function<int(uint32_t id)> descriptor = nullptr;
  // Of one of any kind ("net"), id 0: the caller's; or -1.
  std::function<int(const std::string& kind, uint32_t id)> any_descriptor = nullptr;
  int given_root = -1;  // mnt: what RestoreRequest.root names, in this namespace; -1: look it up
  // mnt: mountinfo of when it was a copy of the caller's, as the caller's cgroup namespace tells
  // it.
  std::string mount_table = {};
  std::vector<Fd>* taken = nullptr;  // what NamespaceRoom::take gave
  // mnt: filled with descriptors of the files that mounts of this namespace hide
  // (RegularFile.hidden_mount), by file id.
  std::map<uint32_t, Fd>* hidden = nullptr;
  // mnt: filled with what their daemons will need, by MountedFileSystem.id.
  std::map<uint32_t, autofs::Open>* autofs = nullptr;
  // mnt: for what `build` has to leave to `finish`. Descriptors are to be at fd_base or above.
  std::unique_ptr<HalfBuilt>* half_built = nullptr;
  HalfBuilt* kept = nullptr;
  int fd_base = 0;
  const tun::DeviceDesk* devices = nullptr;  // net; null: there is none
  // mnt: to a copy of the caller's that is nobody's, and belongs to the same user namespace.
  std::function<Result<>()> enter_workshop = nullptr;
  // mnt: of one that belongs to a user namespace below that of the root task (docs/adr/0018). Until
  // hand_down we are in one of the root task's; it has the owner make a copy, and enters that.
  // Null: it belongs to that of the root task.
  std::function<Result<>()> hand_down = nullptr;
  // mnt: in a process beside us, with the rights of that owner.
  std::function<Result<>(const std::function<Result<>()>&)> as_owner = nullptr;
  // mnt: by us, with our rights, as a user that the owner maps: others cannot make files in a file
  // system of its own.
  std::function<Result<>(const std::function<Result<>()>&)> as_owners_user = nullptr;
};

struct NamespaceRoom {
  const char* name = nullptr;  // of the link in /proc/PID/ns
  schema::Namespace::ContentCase kind{};
  uint64_t clone_flag = 0;
  // dump uses neither `content` nor what a Task remembers of its /proc: it can run beside others.
  bool beside_tasks = false;

  // Dump, the tree running, on a thread that has entered the namespace of its root: opens what
  // dump() takes time to open. Null: nothing, which is no failure.
  std::unique_ptr<Prepared> (*prepare)() = nullptr;
  // Dump, the tree stopped: on a thread of the engine that has entered the namespace (mnt: and has
  // its root as "/"; /proc is then the tree's, so whatever is the engine's must be opened before).
  // Names what cannot be restored. Not called for an external or empty one.
  Result<> (*dump)(const NamespaceProbe&, schema::Namespace*, Blockers&) = nullptr;
  // Restore, coordinator, before there is a root task: descriptors of the caller's that a root
  // task in a user namespace of its own could not open. Not called for an external or empty one.
  Result<std::vector<Fd>> (*take)(const Image&, const RestoreRequest&,
                                  const schema::Namespace&) = nullptr;
  // Restore, coordinator, in the caller's namespaces, when the root task has made this one and is
  // in it: brings what comes from outside. Not called for an external or empty one.
  Result<> (*bring)(const NamespaceBuild&, pid_t root) = nullptr;
  // Restore, root task: fills it. The order is that of rooms.inc. Not called for an external one;
  // for an empty one it does what every new namespace of this kind needs.
  Result<> (*build)(const NamespaceBuild&) = nullptr;
  // Restore, first process of a pid namespace below that of the tree's root, in this namespace, if
  // it is half built: what only such a process can make.
  Result<> (*finish)(const NamespaceBuild&, uint32_t pid_namespace) = nullptr;
  // Restore, a process beside the coordinator, in this namespace, when every resource of the tree
  // is there: what would have been in their way. Not called for an external or empty one.
  bool (*has_late_part)(const schema::Namespace&) = nullptr;  // pure
  Result<> (*build_late)(const NamespaceBuild&) = nullptr;
};

const std::vector<const NamespaceRoom*>& namespace_rooms();  // in the order of rooms.inc
const std::vector<const TaskRoom*>& task_rooms();            // in the order of rooms.inc
const std::vector<const FdRoom*>& fd_rooms();
const FdRoom* fd_room_of(schema::OpenFile::KindCase kind);                    // null if unknown
const NamespaceRoom* namespace_room_of(schema::Namespace::ContentCase kind);  // the same

}  // namespace ncr
