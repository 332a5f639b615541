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
  std::string where;   // who holds it
  uint64_t owner = 0;  // inode of its user namespace; 0: out of our sight
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

  // Ids of the namespaces of the task at `index` of the tree.
  const std::vector<uint32_t>& of(size_t index) const { return ids_[index]; }
  uint32_t of(size_t index, schema::Namespace::ContentCase kind) const;
  uint32_t find(schema::Namespace::ContentCase kind, uint64_t inode) const;  // 0: none of these
  const std::vector<schema::Namespace>& records() const { return records_; }
  std::vector<schema::Namespace>& finished_records() { return records_; }
  size_t member_of(size_t record) const { return members_[record]; }  // index of a task in it
  const std::vector<Deserted>& deserted() const { return deserted_; }
  size_t first_deserted() const {  // they come last
    return deserted_.empty() ? records_.size() : deserted_.front().record;
  }

 private:
  Result<> look_at(const Task& task, size_t index, Blockers& blockers);
  uint32_t add(const NamespaceRoom& room, uint64_t inode);
  bool has_owner_of_root(const Deserted& one) const;
  void add_clocks();
  Result<> find_owners(const std::vector<Task>& tasks);
  void check_root(const Task& root, Blockers& blockers) const;
  Result<> check_strangers(const std::vector<Task>& tasks, Blockers& blockers) const;

  Links own_;
  const DumpRequest* request_ = nullptr;
  std::vector<Deserted> deserted_;
  std::vector<schema::Namespace> records_;
  std::vector<size_t> members_;  // by record: index of a task in it; of a deserted one 0
  std::vector<std::vector<uint32_t>> ids_;
};

}  // namespace ncr::namespaces
