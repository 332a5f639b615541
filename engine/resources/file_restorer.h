// The files of one task being born (runs in the child). Rooms use it to find the files that belong
// together.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/resources/room.h"
#include "engine/restore_plan.h"

namespace ncr {

class NamespaceSet;         // engine/tree/namespace_set.h
class SharedMemoryObjects;  // engine/resources/shared_memory/shared_memory.h
namespace tty {
class OrphanTerminals;  // engine/resources/tty/orphan_terminals.h
}
namespace tun {
class DeviceDesk;  // engine/resources/tun/device_desk.h
}

class FileRestorer {
 public:
  FileRestorer(const RestorePlan& plan, const RestoreRequest& request);
  ~FileRestorer();

  // Opens every file that this task owns, then connects them. Descriptors land above
  // plan.service_fd_base.
  Result<> open_owned(const schema::Task& task);
  // After every process of the tree was forked: puts the task's descriptors at their numbers, and
  // the executable and the procfs where TaskPlan says; closes everything else. A task that shares
  // its creator's table has nothing to do: the creator does it for both.
  Result<> install(const schema::Task& task);

  // For rooms: a file of this task that is open already (its service number), and things to leave
  // for a later member of a group.
  Result<int> opened(uint32_t file_id) const;
  // Whether it is made when every process exists (FdRoom::open_late).
  bool is_late(uint32_t file_id) const;
  const RestorePlan& plan() const;
  // Of the image, as the task whose files these are has it; 0: it cannot see that process.
  pid_t number(pid_t of_root) const;
  // Likewise users and groups, for chown(2); kNobody: what is not mapped there stays as it is.
  static constexpr uint32_t kNobody = UINT32_MAX;
  uint32_t user(uint32_t of_root) const;
  uint32_t group(uint32_t of_root) const;
  void stash(uint64_t group_id, const std::string& key, Fd fd);
  Fd take(uint64_t group_id, const std::string& key);  // invalid if none
  const schema::OpenFile* record(uint32_t file_id) const;
  // Every file of the image in this group, by OpenFile.group_id or joins; ascending by id.
  const std::vector<const schema::OpenFile*>& members(uint64_t group_id) const;
  const RestoreRequest& request() const;
  const Image& image() const;
  // The objects behind memfds and shared mappings, made by the coordinator; null in a unit test.
  const SharedMemoryObjects* shared_memory() const;
  void set_shared_memory(const SharedMemoryObjects* objects);
  void set_namespaces(const NamespaceSet* namespaces);
  // To a namespace of a kind ("net"), 0: the caller's; -1: none is kept, or there is one of each.
  int namespace_descriptor(const std::string& kind, uint32_t id) const;
  // To a file whose path other mounts hide, kept while they were made (RegularFile.hidden_mount);
  // -1: none.
  int hidden(uint32_t file_id) const;
  const autofs::Open* autofs(uint32_t mount_namespace, uint32_t file_system) const;  // or null
  // Does something in another mount namespace (0: the caller's) while `file` is being opened.
  Result<> in_mount_namespace(uint32_t id, const schema::OpenFile& file,
                              const std::function<Result<>()>& work) const;
  // A terminal's other end, for the caller: stays open until the coordinator has fetched it.
  Result<> keep_for_caller(Fd master);
  void set_orphans(const tty::OrphanTerminals* orphans);
  const tun::DeviceDesk* devices() const;  // null: there is none
  void set_devices(const tun::DeviceDesk* devices);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ncr
