#include "frontends/criu/values.h"

#include <sched.h>

#include <cstdlib>
#include <cstring>
#include <iterator>

namespace criu {
namespace {

struct Named {
  const char* name;
  uint64_t value;
};

// CLONE_NEWTIME is newer than some headers.
constexpr Named kNamespaces[] = {{"mnt", CLONE_NEWNS},        {"uts", CLONE_NEWUTS},
                                 {"ipc", CLONE_NEWIPC},       {"user", CLONE_NEWUSER},
                                 {"pid", CLONE_NEWPID},       {"net", CLONE_NEWNET},
                                 {"cgroup", CLONE_NEWCGROUP}, {"time", 0x00000080}};

constexpr const char* kExternalKinds[] = {"mnt", "dev", "tty",  "unix",    "file",
                                          "net", "pid", "veth", "macvlan", "netdev"};

const Named* find(const Named* begin, const Named* end, const std::string& name) {
  for (const Named* at = begin; at != end; at++)
    if (name == at->name) return at;
  return nullptr;
}

}  // namespace

Status Status::system(const std::string& what, int number) {
  return {what + ": " + std::strerror(number), number};
}

Status parse_external(const std::string& text, nativecr::External* external) {
  const std::string shape = "external " + text + ": it is written KIND[OBJECT]:VALUE";
  const size_t open = text.find('[');
  if (open == std::string::npos || open == 0) return Status::bad_option(shape);
  size_t close = text.find("]:", open);
  const bool valued = close != std::string::npos;
  if (!valued) close = text.size() - 1;
  if (close <= open || text[close] != ']') return Status::bad_option(shape);
  external->kind = text.substr(0, open);
  external->object = text.substr(open + 1, close - open - 1);
  external->value = valued ? text.substr(close + 2) : "";
  for (const char* kind : kExternalKinds)
    if (external->kind == kind) return {};
  return Status::bad_option("external " + text + ": " + external->kind +
                            " is no kind of thing that can be external");
}

Status parse_inherit_fd(const std::string& text, nativecr::InheritedFd* inherited) {
  const size_t close = text.find("]:");
  long fd = -1;
  if (text.rfind("fd[", 0) != 0 || close == std::string::npos || close + 2 == text.size() ||
      !parse_number(text.substr(3, close - 3), 0, 1 << 30, &fd).ok())
    return Status::bad_option("inherit-fd " + text + ": it is written fd[NUMBER]:KEY");
  *inherited = {text.substr(close + 2), static_cast<int>(fd)};
  return {};
}

Status parse_join_ns(const std::string& text, nativecr::JoinedNamespace* joined) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon + 1 == text.size())
    return Status::bad_option("join-ns " + text + ": it is written KIND:FILE or KIND:PID");
  joined->kind = text.substr(0, colon);
  joined->path = text.substr(colon + 1);
  if (find(std::begin(kNamespaces), std::end(kNamespaces), joined->kind) == nullptr)
    return Status::bad_option("join-ns " + text + ": there is no " + joined->kind + " namespace");
  const bool is_pid = joined->path.find_first_not_of("0123456789") == std::string::npos;
  if (is_pid) joined->path = "/proc/" + joined->path + "/ns/" + joined->kind;
  return {};
}

Status parse_cgroup_root(const std::string& text, nativecr::CgroupRoot* root) {
  const size_t colon = text.empty() || text[0] == '/' ? std::string::npos : text.find(':');
  *root = colon == std::string::npos
              ? nativecr::CgroupRoot{"", text}
              : nativecr::CgroupRoot{text.substr(0, colon), text.substr(colon + 1)};
  if (root->path.empty() || root->path[0] != '/')
    return Status::bad_option("cgroup-root " + text + ": it is written [CONTROLLERS:]/PATH");
  return {};
}

Status parse_empty_ns(const std::string& text, uint64_t* flags) {
  const Named* found = find(std::begin(kNamespaces), std::end(kNamespaces), text);
  if (found == nullptr || found->value != CLONE_NEWNET)
    return Status::bad_option("empty-ns " + text + ": only a net namespace can be left empty");
  *flags |= found->value;
  return {};
}

Status parse_cgroup_mode(const std::string& text, ncr_cgroup_mode* mode) {
  static constexpr Named kModes[] = {{"none", NCR_CGROUP_NONE},     {"props", NCR_CGROUP_PROPS},
                                     {"soft", NCR_CGROUP_SOFT},     {"full", NCR_CGROUP_FULL},
                                     {"strict", NCR_CGROUP_STRICT}, {"ignore", NCR_CGROUP_IGNORE}};
  const Named* found = find(std::begin(kModes), std::end(kModes), text);
  if (found == nullptr)
    return Status::bad_option("manage-cgroups " + text +
                              ": it is none, props, soft, full, strict or ignore");
  *mode = static_cast<ncr_cgroup_mode>(found->value);
  return {};
}

Status parse_network_lock(const std::string& text, ncr_network_lock* lock) {
  // Rules of iptables are rules of nftables under another name; what is locked is the same.
  if (text == "iptables" || text == "nftables")
    *lock = NCR_LOCK_NFTABLES;
  else if (text == "skip")
    *lock = NCR_LOCK_SKIP;
  else
    return Status::bad_option("network-lock " + text + ": it is iptables, nftables or skip");
  return {};
}

Status parse_ext_mount_map(const std::string& text, nativecr::External* external) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0)
    return Status::bad_option("ext-mount-map " + text + ": it is written KEY:VALUE, or auto");
  *external = {"mnt", text.substr(0, colon), text.substr(colon + 1)};
  return {};
}

Status parse_number(const std::string& text, long least, long most, long* number) {
  const size_t digits = text.empty() || text[0] != '-' ? 0 : 1;
  if (text.size() == digits || text.size() > 18 ||
      text.find_first_not_of("0123456789", digits) != std::string::npos)
    return Status::bad_option("\"" + text + "\" is no number");
  *number = std::strtol(text.c_str(), nullptr, 10);
  if (*number < least || *number > most)
    return Status::bad_option(text + " is not between " + std::to_string(least) + " and " +
                              std::to_string(most));
  return {};
}

std::vector<nativecr::External> located(std::vector<nativecr::External> externals) {
  for (nativecr::External& external : externals)
    if (external.kind == "mnt" && !external.value.empty() && external.value[0] != '/')
      external.value.insert(0, "/");
  return externals;
}

}  // namespace criu
