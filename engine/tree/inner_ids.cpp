// The kernel prints ids, and stat(2) and SCM_CREDENTIALS tell them, as the reader's user namespace
// numbers them (from_kuid_munged, kernel/user_namespace.c); the maps in /proc/PID/uid_map are
// printed for the reader as well, so they lead from the engine's ids to a task's in one step,
// however deep it lives. Runs in the engine; pure.
#include "engine/tree/inner_ids.h"

#include <optional>

namespace ncr {
namespace {

constexpr uint32_t kOverflow = 65534;  // the default of /proc/sys/kernel/overflowuid
constexpr uint32_t kNobody = ~0u;      // (uid_t)-1 is no id

using Ranges = google::protobuf::RepeatedPtrField<schema::IdRange>;

std::optional<uint32_t> mapped(const Ranges& ranges, uint32_t outer) {
  for (const schema::IdRange& range : ranges)
    if (outer >= range.outside() && outer - range.outside() < range.count())
      return range.inside() + (outer - range.outside());
  return std::nullopt;
}

}  // namespace

uint32_t InnerIds::uid(uint32_t outer) const {
  if (space_ == nullptr || outer == kNobody) return outer;
  return mapped(space_->uids(), outer).value_or(kOverflow);
}

uint32_t InnerIds::gid(uint32_t outer) const {
  if (space_ == nullptr || outer == kNobody) return outer;
  return mapped(space_->gids(), outer).value_or(kOverflow);
}

void InnerIds::translate(schema::Credentials* credentials) const {
  for (uint32_t& id : *credentials->mutable_uids()) id = uid(id);
  for (uint32_t& id : *credentials->mutable_gids()) id = gid(id);
  google::protobuf::RepeatedField<uint32_t> groups;
  for (uint32_t id : credentials->groups())
    if (std::optional<uint32_t> inner = mapped(space_->gids(), id)) groups.Add(*inner);
  *credentials->mutable_groups() = std::move(groups);
}

void InnerIds::translate(schema::Task* task) const {
  if (space_ == nullptr) return;
  for (schema::Thread& thread : *task->mutable_threads())
    if (thread.has_credentials()) translate(thread.mutable_credentials());
  if (!task->has_login_id()) return;
  const std::optional<uint32_t> login = mapped(space_->uids(), task->login_id());
  if (login.has_value())
    task->set_login_id(*login);
  else
    task->clear_login_id();
}

template <class Node>
void InnerIds::translate_node(Node* node) const {
  node->set_uid(uid(node->uid()));
  node->set_gid(gid(node->gid()));
}

void InnerIds::translate(schema::OpenFile* file) const {
  if (space_ == nullptr) return;
  if (file->has_owner()) {
    file->mutable_owner()->set_uid(uid(file->owner().uid()));
    file->mutable_owner()->set_euid(uid(file->owner().euid()));
  }
  if (file->has_regular_file() && file->regular_file().has_ghost())
    translate_node(file->mutable_regular_file()->mutable_ghost());
  if (file->has_tty() && file->tty().has_node())
    translate_node(file->mutable_tty()->mutable_node());
  if (!file->has_unix_socket()) return;
  schema::UnixSocket* socket = file->mutable_unix_socket();
  if (socket->has_node()) translate_node(socket->mutable_node());
  if (socket->has_peer_credentials()) translate_node(socket->mutable_peer_credentials());
  for (schema::UnixMessage& message : *socket->mutable_queue())
    if (message.has_credentials()) translate_node(message.mutable_credentials());
}

void InnerIds::translate(schema::MountNamespace* mounts) const {
  if (space_ == nullptr) return;
  for (schema::MountedFileSystem& system : *mounts->mutable_file_systems())
    for (schema::FileNode& node : *system.mutable_nodes()) translate_node(&node);
  for (schema::Mount& mount : *mounts->mutable_mounts())
    if (mount.has_removed()) translate_node(mount.mutable_removed());
}

}  // namespace ncr
