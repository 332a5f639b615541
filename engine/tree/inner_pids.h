// From the numbers that the engine has for the tree's processes to those that the tree itself has
// (docs/adr/0011). They differ when the tree lives in another pid namespace.
#pragma once

#include <unordered_map>
#include <vector>

#include "engine/tree/frozen_tree.h"
#include "engine/tree/pid_spaces.h"
#include "memory.pb.h"
#include "open_file.pb.h"

namespace ncr {

class InnerPids {
 public:
  InnerPids() = default;  // changes nothing
  // Processes, threads, groups and sessions of the tree.
  static Result<InnerPids> read(const std::vector<Task>& tasks);

  // 0 for who has no number there.
  pid_t of(pid_t outer) const;

  // In the finished records.
  void translate(schema::Task* task, const PidSpaces& spaces) const;
  void translate(schema::PidNamespace* space) const;
  void translate(schema::OpenFile* file) const;
  void translate(schema::PageMap* pages) const;

 private:
  bool differ_ = false;
  std::unordered_map<pid_t, pid_t> inner_;
};

}  // namespace ncr
