// The cgroups of a tree being dumped.
#pragma once

#include <memory>
#include <set>
#include <vector>

#include "cgroup.pb.h"
#include "engine/base/quiet_thread.h"
#include "engine/request.h"
#include "engine/resources/blockers.h"
#include "engine/resources/cgroup/proc_cgroup.h"

namespace ncr::cgroup {

class [[nodiscard]] CgroupDump {
 public:
  // Where a thread or a process of the tree is.
  struct Place {
    size_t task = 0;
    int thread = -1;  // -1: the process
    std::vector<Membership> memberships;
  };

  CgroupDump();
  CgroupDump(const CgroupDump&) = delete;
  ~CgroupDump();

  // Which there are, and who is in which; the tree is stopped. How they are set is read on the side
  // from now on. Nothing is recorded of a hierarchy in which the whole tree is where this thread
  // is.
  Result<> look(const std::vector<Task>& tasks, CgroupMode mode, Blockers& blockers);
  // `records`: of the tasks, in the same order; their ids are filled in.
  Result<> finish(std::vector<schema::Task>& records,
                  std::vector<schema::CgroupHierarchy>* hierarchies);

 private:
  class Walk;

  Result<> find_cgroups(Walk& walk) const;
  Result<> read();
  void note(const Walk& walk, std::vector<schema::Task>& records) const;

  std::vector<Place> places_;
  std::set<pid_t> ours_;
  std::vector<std::unique_ptr<Walk>> walks_;  // by hierarchy
  Result<> read_;
  Errand reading_;  // last: its work uses the others
};

}  // namespace ncr::cgroup
