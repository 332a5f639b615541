// User namespace (struct user_namespace): the maps of ids and whether setgroups(2) is denied.
// /proc/PID/uid_map shows the ids above as the reader's own namespace numbers them
// (user_namespaces(7)). dump runs in the engine; the maps are written by the coordinator
// (engine/tree/namespace_set.cpp), for that takes capabilities in the namespace above.
#include <sched.h>

#include "engine/resources/room.h"
#include "engine/resources/user_namespace/id_map.h"

namespace ncr::user_namespace {
namespace {

Result<> dump(const NamespaceProbe& probe, schema::Namespace* record, Blockers&) {
  schema::UserNamespace* user = record->mutable_user();
  std::string uids = TRY(sys::read_file_at(probe.member.proc, "uid_map"));
  TRY_WHILE(parse_id_map(uids, user->mutable_uids()), "uid_map");
  std::string gids = TRY(sys::read_file_at(probe.member.proc, "gid_map"));
  TRY_WHILE(parse_id_map(gids, user->mutable_gids()), "gid_map");
  std::string setgroups = TRY(sys::read_file_at(probe.member.proc, "setgroups"));
  user->set_setgroups_denied(setgroups.starts_with("deny"));
  return {};
}

}  // namespace

extern const NamespaceRoom kRoom = {
    .name = "user", .kind = schema::Namespace::kUser, .clone_flag = CLONE_NEWUSER, .dump = dump};

}  // namespace ncr::user_namespace
