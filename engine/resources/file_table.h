// Identity of open file descriptions during a dump: the same description always gets the same id,
// whoever holds it (kcmp(2)).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "engine/resources/room.h"

namespace ncr {

class SharedMemoryTable;  // engine/memory/shared_memory_table.h
class Connections;        // engine/resources/tcp_socket/connections.h

class FileTable {
 public:
  FileTable();
  FileTable(FileTable&&) noexcept;
  FileTable& operator=(FileTable&&) noexcept;
  ~FileTable();

  // Where rooms put content that has no path: memfds, unlinked files. Without it they are refused.
  void store_content_in(SharedMemoryTable& shared_memory);
  SharedMemoryTable* shared_memory() const;
  // Where TCP connections are noted, to be read later. Without it they are refused.
  void note_connections_in(Connections& connections);
  Connections* connections() const;

  // A mount namespace of the tree, before files are met that may be in any of them.
  Result<> know_mounts(const Task& member, uint32_t id);
  // Where the paths of the files met from now on are looked up: OpenFile.mount_namespace.
  void set_mount_namespace(uint32_t id);
  uint32_t mount_namespace_of(const MountView* view) const;  // 0: the engine's own
  // Who gives ids to namespaces that files refer to; `where` is for messages. Without it they are
  // all the engine's.
  using Refer = std::function<Result<uint32_t>(const Fd& nsfs, const std::string& where)>;
  void set_namespaces(Refer refer);
  // 0: the engine's own.
  Result<uint32_t> namespace_of(const Fd& nsfs, const std::string& where) const;

  // Every descriptor of the task into *record (files are dumped by their room on first sight).
  // `skip`: numbers that are the parasite's. What cannot be dumped goes to `blockers` if there are
  // any, and is an error if not: one pass serves preflight and dump.
  Result<> add_task(const Task& task, const std::vector<int>& skip, schema::Task* record,
                    Blockers* blockers = nullptr);
  // A descriptor that we hold ourselves (in flight in a socket of the task added last): same
  // description, same id. 0 is never an id.
  Result<uint32_t> add_local(Fd fd);
  // The file at descriptor `number` of `task`, e.g. an epoll target.
  Result<uint32_t> id_of(const Task& task, FdNumber number);
  // A file behind a mapping, or the executable, of the task added last: opened by us (O_PATH or
  // O_RDONLY/O_RDWR), deduplicated by device, inode and access mode.
  Result<uint32_t> add_mapped(Fd opened, const std::string& path, bool deleted, uint32_t flags);

  // To be called once the tree may run again, before the records are written.
  Result<> finish();

  // The file in the table that `is_target` says yes to, among those of this device (as the kernel
  // numbers it, fdinfo.h) and inode; 0 if none.
  using IsTarget = std::function<Result<bool>(pid_t pid, int number)>;
  Result<uint32_t> find(uint64_t device, uint64_t inode, const IsTarget& is_target) const;

  std::vector<const schema::OpenFile*> records() const;  // by id
  std::vector<schema::OpenFile*> finished_records();     // the same, to translate numbers in
  // After every task was added: what reaches outside the tree (FdRoom::check of every room).
  Result<> check(const DumpRequest& request, Blockers& blockers) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ncr
