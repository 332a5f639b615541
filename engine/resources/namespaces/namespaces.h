// Which namespaces a tree brings along (docs/adr/0011).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/resources/blockers.h"
#include "engine/tree/frozen_tree.h"
#include "namespace.pb.h"

namespace ncr {
struct NamespaceRoom;  // engine/resources/room.h
}  // namespace ncr

namespace ncr::namespaces {

// By name of the link in /proc/PID/ns, without those that the kernel does not have.
using Links = std::map<std::string, std::string>;
Result<Links> own_links();
Links links_of(const Task& task);

// Two links of /proc/PID/ns, "net:[4026531840]"; empty if the kernel has none. Pure.
bool differs(const std::string& own, const std::string& theirs);
// 4026531840; 0 if it does not read like that. Pure.
uint64_t inode_of(const std::string& link);

// Whether setns(2) puts a single thread into one. Pure.
bool enterable(schema::Namespace::ContentCase kind);

Result<const NamespaceRoom*> room_of(const Fd& nsfs);

// One that no task of the tree is in.
struct Deserted {
  size_t record = 0;  // index
  Fd fd;
  std::string where;      // who holds it
  bool is_owned = false;  // by a user namespace of the tree, that of its root or one below
};

// The namespaces of a tree that are not the engine's own.
class NamespaceTable {
 public:
  explicit NamespaceTable(Links own) : own_(std::move(own)) {}

  // Finds them; names what of them cannot be restored.
  Result<> look(const std::vector<Task>& tasks, const DumpRequest& request, Blockers& blockers);
  // The id of a namespace that something of the tree refers to, which adds it if no task is in it;
  // 0: the engine's own.
  Result<uint32_t> refer(const Fd& nsfs, const std::string& where);
  // Names which of those cannot be restored.
  Result<> check_deserted(const std::vector<Task>& tasks, Blockers& blockers) const;

  // Names whose procfs cannot be mounted again, once the mounts are known.
  void check_proc_mounts(const std::vector<Task>& tasks, Blockers& blockers) const;

  // The maps of every user namespace below the root's, as the one above it numbers ids: until then
  // they are in the engine's numbers.
  void number_users_as_above();

  // Ids of the namespaces of the task at `index` of the tree; of a zombie that of its numbers.
  const std::vector<uint32_t>& of(size_t index) const { return ids_[index]; }
  uint32_t of(size_t index, schema::Namespace::ContentCase kind) const;
  // Id of the pid namespace that its children are born in, if not its own; 0: its own.
  uint32_t of_children(size_t index) const { return spaces_of_children_[index]; }
  uint32_t find(schema::Namespace::ContentCase kind, uint64_t inode) const;  // 0: none of these
  uint64_t engines(schema::Namespace::ContentCase kind) const;  // inode of our own; 0: none
  uint32_t find_nested_pids(uint64_t inode) const;  // below that of the root; 0: none of these
  // Whether it belongs to a user namespace below that of the root of the tree.
  bool belongs_below(const schema::Namespace& record) const {
    return !record.has_user() && is_nested_user(record.owner());
  }
  const std::vector<schema::Namespace>& records() const { return records_; }
  std::vector<schema::Namespace>& finished_records() { return records_; }
  size_t member_of(size_t record) const { return members_[record]; }  // index of a task in it
  const std::vector<Deserted>& deserted() const { return deserted_; }
  size_t first_deserted() const {  // they come last
    return deserted_.empty() ? records_.size() : deserted_.front().record;
  }

 private:
  Result<> look_at(const Task& task, size_t index, Blockers& blockers);
  void look_at_children(const Task& task, size_t index, const Links& links, Blockers& blockers);
  uint32_t add(const NamespaceRoom& room, uint64_t inode);
  Result<uint32_t> id_of_user(Fd nsfs);           // 0: the engine's own; adds it
  Result<bool> is_in_tree(const Fd& user) const;  // that of the root, or one below
  Result<bool> note_owner(const Fd& nsfs, size_t index);
  Result<> look_at_users(const std::vector<Task>& tasks);  // that were not looked at yet
  Result<> look_at_user(const std::vector<Task>& tasks, size_t index);
  bool is_nested_user(uint32_t id) const;
  void check_users(const std::vector<Task>& tasks, Blockers& blockers) const;
  void add_clocks();
  Result<> find_owners(const std::vector<Task>& tasks, Blockers& blockers);
  void check_root(const Task& root, Blockers& blockers) const;
  std::vector<size_t> nested_pid_namespaces() const;  // indices of records
  Result<> look_at_nested_pids(const std::vector<Task>& tasks, Blockers& blockers);
  void check_nested_pid(const schema::Namespace& record, uint64_t above, const Task& member,
                        Blockers& blockers) const;
  void check_rights_below(const Task& task, size_t index, Blockers& blockers) const;
  Result<> note_numbers(const std::vector<Task>& tasks, size_t index);
  Result<> check_births(const std::vector<Task>& tasks, Blockers& blockers) const;
  void look_at_births_to_come(const std::vector<Task>& tasks, Blockers& blockers);
  Result<> check_strangers(const std::vector<Task>& tasks, Blockers& blockers) const;

  Links own_;
  const DumpRequest* request_ = nullptr;
  const std::vector<Task>* tasks_ = nullptr;
  std::vector<Deserted> deserted_;
  std::map<uint32_t, Fd> empty_users_;  // by id: user namespaces that no task is in
  std::vector<uint32_t> stray_users_;   // ids of those that are not below that of the root
  size_t users_seen_ = 0;               // records
  std::vector<std::pair<uint32_t, std::string>> held_pids_;  // id of a nested one, who holds it
  std::vector<schema::Namespace> records_;
  std::vector<size_t> members_;  // by record: index of a task in it; of a deserted one 0
  std::vector<std::vector<uint32_t>> ids_;
  std::vector<std::string> births_to_come_;  // by task: link of pid_for_children, if not its own
  std::vector<uint32_t> spaces_of_children_;
};

}  // namespace ncr::namespaces
