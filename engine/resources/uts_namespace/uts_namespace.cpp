// UTS namespace (struct new_utsname): the names that uname(2) gives. dump runs on a thread of the
// engine that has entered it, build in the root task.
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/resources/room.h"

namespace ncr::uts_namespace {
namespace {

Result<> dump(const NamespaceProbe&, schema::Namespace* record, Blockers&) {
  utsname names{};
  TRY(SYSCALL(::uname(&names), "uname"));
  record->mutable_uts()->set_host_name(names.nodename);
  record->mutable_uts()->set_domain_name(names.domainname);
  return {};
}

Result<> build(const NamespaceBuild& build) {
  const schema::UtsNamespace& names = build.record.uts();
  const std::string& host = names.host_name();
  TRY(SYSCALL(::sethostname(host.data(), host.size()), "sethostname %s", host.c_str()));
  const std::string& domain = names.domain_name();
  TRY(SYSCALL(::setdomainname(domain.data(), domain.size()), "setdomainname %s", domain.c_str()));
  return {};
}

}  // namespace

extern const NamespaceRoom kRoom = {.name = "uts",
                                    .kind = schema::Namespace::kUts,
                                    .clone_flag = CLONE_NEWUTS,
                                    .dump = dump,
                                    .build = build};

}  // namespace ncr::uts_namespace
