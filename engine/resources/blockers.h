// What stands in the way of a dump, collected over the whole tree before anything is touched.
#pragma once

#include <iterator>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/tree/frozen_tree.h"

namespace ncr {

class Blockers {
 public:
  void add(const Task& task, std::string object, std::string reason, std::string way_out = "") {
    list_.push_back(
        {task.pid, task.comm, std::move(object), std::move(reason), std::move(way_out)});
  }
  void add(Blockers others) {
    list_.insert(list_.end(), std::make_move_iterator(others.list_.begin()),
                 std::make_move_iterator(others.list_.end()));
  }
  bool empty() const { return list_.empty(); }
  const std::vector<Blocker>& list() const { return list_; }
  Error as_error() const;  // kUnsupported: a line for each, with how many tasks have it

 private:
  std::vector<Blocker> list_;
};

}  // namespace ncr
