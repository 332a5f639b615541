// The network namespaces of a tree being made, in the coordinator: the root task puts a descriptor
// of each where a place was kept before it was born, and we take it from there.
#include <fcntl.h>
#include <unistd.h>

#include "engine/base/sys.h"
#include "engine/tree/namespace_set.h"

namespace ncr {

std::vector<const schema::Namespace*> NamespaceSet::made_networks() const {
  std::vector<const schema::Namespace*> list;
  for (const schema::Namespace& record : image_->namespaces)
    if (record.has_net() && !joined_.contains(record.id())) list.push_back(&record);
  return list;
}

Result<> NamespaceSet::fetch_networks(pid_t root) {
  const std::vector<const schema::Namespace*> records = made_networks();
  if (records.empty()) return {};
  Fd task = TRY(sys::pidfd_open(root));
  for (const schema::Namespace* record : records) {
    const int place = kept_.at({schema::Namespace::kNet, record->id()}).get();
    Fd made = TRY(sys::pidfd_getfd(task, place));
    TRY(SYSCALL(::dup3(made.get(), place, O_CLOEXEC), "dup3"));
  }
  return {};
}

Result<Fd> NamespaceSet::network(uint32_t id) const {
  const Fd* found = nullptr;
  if (auto joined = joined_.find(id); joined != joined_.end())
    found = &joined->second;
  else if (auto beside = joined_besides_.find(schema::Namespace::kNet);
           id == 0 && beside != joined_besides_.end())
    found = &beside->second;
  else if (auto kept = kept_.find({schema::Namespace::kNet, id}); id != 0 && kept != kept_.end())
    found = &kept->second;
  if (found == nullptr) return Fd();
  return Fd(TRY(SYSCALL(::fcntl(found->get(), F_DUPFD_CLOEXEC, fd_base_), "F_DUPFD_CLOEXEC")));
}

}  // namespace ncr
