// From the user and group ids that the engine sees to those that the root of the tree sees
// (docs/adr/0011, docs/adr/0018). They differ when the tree lives in another user namespace.
#pragma once

#include "namespace.pb.h"
#include "open_file.pb.h"
#include "task.pb.h"

namespace ncr {

class InnerIds {
 public:
  InnerIds() = default;  // changes nothing
  explicit InnerIds(const schema::UserNamespace& space) : space_(&space) {}

  // What is not mapped reads as the overflow id inside, as the kernel has it.
  uint32_t uid(uint32_t outer) const;
  uint32_t gid(uint32_t outer) const;

  // In the finished records. Groups that are not mapped are left out: they cannot be set inside.
  void translate(schema::Task* task) const;
  void translate(schema::OpenFile* file) const;
  void translate(schema::MountNamespace* mounts) const;

 private:
  void translate(schema::Credentials* credentials) const;
  template <class Node>
  void translate_node(Node* node) const;

  const schema::UserNamespace* space_ = nullptr;
};

}  // namespace ncr
