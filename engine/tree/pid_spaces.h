// The pid namespaces of a tree, below that of its root (docs/adr/0017). Pure.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "namespace.pb.h"
#include "task.pb.h"

namespace ncr {

// A space is a pid namespace by its id in the image, or 0: that of the root of the tree, whether
// it has a record or not. A process is named by its number there, which every process of the tree
// has.
class PidSpaces {
 public:
  PidSpaces() = default;  // there is one only
  PidSpaces(const std::vector<schema::Namespace>& records, const schema::Task& root);

  bool several() const { return !spaces_.empty(); }
  // Of a task that was looked at.
  uint32_t of(const schema::Task& task) const;
  // Space 0 is above itself.
  uint32_t above(uint32_t space) const;
  size_t depth(uint32_t space) const;  // 0: space 0
  // The number of a process, thread, process group or session in a space; 0: none is known there.
  pid_t in(uint32_t space, pid_t of_root) const;
  // Of one that lives in `space`, the number there first, that in space 0 last; as set_tid of
  // clone3(2) wants them.
  std::vector<pid_t> numbers(uint32_t space, pid_t of_root) const;
  // Whether any space has this number for somebody.
  bool is_taken(pid_t number) const;

 private:
  struct Space {
    uint32_t above = 0;
    std::unordered_map<pid_t, pid_t> numbers;  // by that in space 0
  };
  std::map<uint32_t, Space> spaces_;
};

}  // namespace ncr
