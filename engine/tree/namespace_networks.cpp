// The network namespaces of a tree being made, in the coordinator: the root task puts a descriptor
// of each where a place was kept before it was born, and we take it from there. What comes late is
// done by a process beside us.
#include <fcntl.h>
#include <unistd.h>

#include "engine/base/sys.h"
#include "engine/resources/room.h"
#include "engine/tree/namespace_set.h"
#include "engine/tree/nested_users.h"
#include "engine/tree/side_process.h"

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

bool NamespaceSet::has_late_part(const schema::Namespace& record) const {
  const NamespaceRoom& room = *namespace_room_of(record.content_case());
  const bool empty = record.empty() || (request_->empty_namespaces & room.clone_flag) != 0;
  return !empty && room.has_late_part(record);
}

// Whoever has rights only in the user namespace of the tree has to go there first.
Result<> NamespaceSet::enter_from_outside(Kind kind, uint32_t id, pid_t root) const {
  Result<> entered = visit(kind, id);
  const uint32_t user = of(image_->tasks[0], schema::Namespace::kUser);
  if (entered.ok() || entered.error().os_error() != EPERM || user == 0) return entered;
  Fd users = TRY(sys::open(strf("/proc/%d/ns/user", root).c_str(), O_RDONLY));
  TRY(enter_user_namespace(users.get(), record(user)->user()));
  return visit(kind, id);
}

Result<> NamespaceSet::build_late(const SharedMemoryObjects& content, pid_t root) {
  for (const schema::Namespace* record : made_networks()) {
    if (!has_late_part(*record)) continue;
    const NamespaceRoom& room = *namespace_room_of(record->content_case());
    auto work = [&]() -> Result<> {
      TRY(enter_from_outside(room.kind, record->id(), root));
      return room.build_late(describe(*record, room, content));
    };
    TRY_WHILE(beside(work), "%s namespace %llu", room.name,
              static_cast<unsigned long long>(record->inode()));
  }
  return {};
}

}  // namespace ncr
