// The namespaces of a tree being made (docs/adr/0011): the root task makes them or joins those that
// were given, and keeps a descriptor of each; every other task enters what differs from its
// creator's.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/image/image_reader.h"
#include "engine/request.h"
#include "engine/resources/cgroup/cgroup_restore.h"
#include "engine/resources/shared_memory/shared_memory.h"
#include "engine/tree/user_spaces.h"

namespace ncr {

struct NamespaceBuild;  // engine/resources/room.h
struct NamespaceRoom;
struct HalfBuilt;
namespace autofs {
struct Open;  // engine/resources/room.h
}
namespace tun {
class DeviceDesk;  // engine/resources/tun/device_desk.h
}

class NamespaceSet {
 public:
  // Coordinator: nothing is made yet. Descriptors land at fd_base or above. kUnsupported: an
  // external namespace for which the caller gave nothing.
  static Result<NamespaceSet> create(const Image& image, const RestoreRequest& request,
                                     int fd_base);

  bool empty() const { return image_->namespaces.empty() && joined_besides_.empty(); }
  // The root task gets numbers of another pid namespace than ours.
  bool renumbers() const;
  // Coordinator: what the root is to be cloned with, after its pid namespace was joined, if it is
  // an existing one. leave_pid() makes our own children ours again.
  uint64_t root_clone_flags() const;
  Result<> join_pid() const;
  Result<> leave_pid() const;
  Result<> write_id_maps(pid_t root) const;
  // Coordinator, once the root has made them: what comes from the caller's namespaces (links).
  Result<> bring(const SharedMemoryObjects& content, pid_t root) const;

  // Coordinator, once the root has made them: descriptors of those that we work in, too.
  Result<> fetch_networks(pid_t root);
  // Coordinator, then: by id, 0: that of whoever restores. Invalid: ours.
  Result<Fd> network(uint32_t id) const;
  // Coordinator, when every resource of the tree is there: what would have been in their way.
  Result<> build_late(const SharedMemoryObjects& content, pid_t root);

  // For cgroup namespaces, which show the cgroup that they are made in.
  void set_cgroups(const cgroup::Cgroups* cgroups) { cgroups_ = cgroups; }
  // For links of tun.
  void set_devices(const tun::DeviceDesk* devices) { devices_ = devices; }

  // Root task, when the maps of its user namespace are written: everything is made, nothing is in
  // it. Then fill() each, and end in the root's own.
  Result<> make();
  Result<> fill(const SharedMemoryObjects& content);
  // First process of a pid namespace, at its birth: mounts that could not be made before it was
  // there. If there were any, it is in its own mount namespace then.
  Result<> finish(uint32_t pid_namespace, const schema::Task& first,
                  const SharedMemoryObjects& content);

  // Any other task, at its birth.
  Result<> enter(const schema::Task& task, const schema::Task& creator) const;
  // Puts the calling process, for good, into a user namespace below that of the tree's root.
  Result<> go_down(uint32_t user) const;
  // Puts the calling task into namespace `id` of the kind (0: that of whoever restores).
  Result<> visit(schema::Namespace::ContentCase kind, uint32_t id) const;
  // To namespace `id` of a kind ("net"; 0: that of whoever restores); -1: it was not made.
  int descriptor(const std::string& kind, uint32_t id) const;
  // To a file that mounts hide (FileRestorer::hidden), or -1.
  int hidden(uint32_t file_id) const;
  // A file system of mount namespace `id`, for its daemon; null: it has none.
  const autofs::Open* autofs(uint32_t id, uint32_t file_system) const;
  // Of the task, in this kind; 0: that of whoever restores.
  uint32_t of(const schema::Task& task, schema::Namespace::ContentCase kind) const;

 private:
  using Kind = schema::Namespace::ContentCase;
  const schema::Namespace* record(uint32_t id) const;
  static Result<> enter_by(const Fd& fd, Kind kind);
  Result<Fd> raised(Fd fd) const;  // at fd_base or above
  Result<> make_one(const schema::Namespace& record);
  Result<> make_here(const schema::Namespace& record);
  Result<> make_beside(const schema::Namespace& record);
  Result<> make_cgroup(const schema::Namespace& record);
  Result<> make_users();
  Result<> keep_place(Kind kind, uint32_t id);
  std::vector<const schema::Namespace*> made_networks() const;
  bool has_late_part(const schema::Namespace& record) const;
  Result<> enter_from_outside(Kind kind, uint32_t id, pid_t root) const;
  int user_descriptor(uint32_t space) const;  // -1: of the root's
  Result<> build(const schema::Namespace& record, const NamespaceRoom& room,
                 const SharedMemoryObjects& content);
  NamespaceBuild describe(const schema::Namespace& record, const NamespaceRoom& room,
                          const SharedMemoryObjects& content);
  Result<> make_workshop(uint32_t owner);
  Result<> as_owner(uint32_t owner, const std::function<Result<>()>& work) const;
  Result<> as_owners_user(uint32_t owner, const std::function<Result<>()>& work) const;
  Result<> hand_down(const schema::Namespace& record);
  Result<> go_to_given_root() const;
  Result<> keep_given_root(const schema::Namespace& record);
  Result<> keep(const char* link, Kind kind, uint32_t id);
  Result<Fd> given(const schema::Namespace& record) const;
  Result<> join_besides();
  Result<> take(const schema::Namespace& record, const NamespaceRoom& room);
  Result<> enter_own_of_root(const NamespaceRoom& room) const;
  bool in_use_by_root(const schema::Namespace& record) const;

  const Image* image_ = nullptr;
  const RestoreRequest* request_ = nullptr;
  const cgroup::Cgroups* cgroups_ = nullptr;
  const tun::DeviceDesk* devices_ = nullptr;
  int fd_base_ = 0;
  UserSpaces users_;
  std::unordered_map<uint32_t, const schema::Namespace*> records_;  // of the image, by id
  std::map<uint32_t, Fd> joined_;                 // by id: external or in place of a dumped one
  std::map<Kind, Fd> joined_besides_;             // of kinds that the image says nothing of
  std::map<std::pair<Kind, uint32_t>, Fd> kept_;  // by kind and id
  std::map<uint32_t, Fd> given_roots_;            // RestoreRequest.root in each mount namespace
  std::map<uint32_t, Fd> hidden_;                 // by id of the file
  std::map<std::pair<uint32_t, uint32_t>, std::shared_ptr<autofs::Open>>
      autofs_;  // by ids of the namespace and the file system
  std::map<uint32_t, std::shared_ptr<HalfBuilt>> half_built_;  // by id
  std::map<uint32_t, Fd> workshops_;  // by owner: mount namespaces, copied from the caller's
  Fd callers_root_;
  std::map<uint32_t, std::vector<Fd>> taken_;     // by id: of the caller's, for what is made
  std::map<uint32_t, std::string> mount_tables_;  // by id: mountinfo of those just made
};

}  // namespace ncr
