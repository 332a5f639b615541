// The cgroups of an image as they are on this machine: made where they are missing, entered by the
// tasks.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/image/image_reader.h"
#include "engine/request.h"

namespace ncr::cgroup {

// Where the root of the tree is to be in a hierarchy: what the request says, or what the image
// says. Pure.
std::string root_path_for(const schema::CgroupHierarchy& hierarchy,
                          const std::vector<CgroupRoot>& roots);

// The destructor removes what create() made, unless keep() was called: to be declared before the
// tree, so that nobody is inside any more.
struct BornTask {
  const schema::Task* record;
  pid_t outer;   // our number of it
  size_t depth;  // of its pid namespace below that of the root of the tree
};

class [[nodiscard]] Cgroups {
 public:
  // Coordinator, before the first fork. Descriptors land at fd_base or above.
  static Result<Cgroups> create(const Image& image, const RestoreRequest& request, int fd_base);
  Cgroups(Cgroups&&) noexcept;
  Cgroups& operator=(Cgroups&&) = delete;
  ~Cgroups();

  // Child, right after its birth: it goes where the task of this record was. `from`: the ids of
  // those it is in, by inheritance; they become those of the record.
  Result<> enter(const schema::Task& record, std::vector<uint32_t>* from) const;
  // Root task, before it makes this cgroup namespace: into the cgroup that the namespace shows as
  // its root.
  Result<> enter_root_of(const schema::CgroupNamespace& space) const;

  // Coordinator, all threads of the tree parked: single threads that are elsewhere than their
  // process, and what was in the way until now.
  Result<> finish(const std::vector<BornTask>& tasks);
  void keep();

 private:
  struct Impl;
  explicit Cgroups(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ncr::cgroup
