// The label that AppArmor or SELinux has given to a process (struct cred, in the module's own
// part), and those it asked for what it executes and creates next. The kernel shows them in
// /proc/PID/attr; without such a module reading gives EINVAL. A module with a folder of its own
// there is told by it (apparmor); a context of three colons is SELinux's.
//
// A process may change its own label only, and SELinux asks that it has one thread: the child does
// it as the last thing before the restorer. Everything after it (memory, threads, timers) is what
// the program may do under that label anyway. Threads with labels of their own are refused.
#include "engine/resources/lsm/lsm.h"

#include <fcntl.h>

#include <algorithm>

#include "engine/base/procfs.h"
#include "engine/resources/room.h"

namespace ncr::lsm {
namespace {

using schema::LsmLabels;

constexpr size_t kMostLabel = 4096;

bool looks_like_selinux(std::string_view label) {
  return std::count(label.begin(), label.end(), ':') >= 2;
}

Result<std::string> read_label(const Fd& folder, const std::string& file) {
  return label_of(TRY(sys::read_file_at(folder, file.c_str())));
}

// Leaves NONE if no module labels this process.
Result<> read_labels(const Fd& folder, const std::string& attributes, LsmLabels* labels) {
  Result<std::string> legacy = read_label(folder, attributes + "/current");
  if (!legacy.ok()) return {};
  const bool is_selinux = looks_like_selinux(legacy.value());
  if (is_selinux) {
    labels->set_module(LsmLabels::SELINUX);
    labels->set_current(legacy.take());
  } else {
    Result<std::string> apparmor = read_label(folder, attributes + "/apparmor/current");
    labels->set_module(LsmLabels::APPARMOR);
    labels->set_current(apparmor.ok() ? apparmor.take() : legacy.take());
  }
  if (labels->current().empty()) return Error::unsupported("an empty security label");
  auto read = [&](const char* file) {
    Result<std::string> label = read_label(folder, attributes + "/" + file);
    return label.ok() ? label.take() : std::string();
  };
  labels->set_exec(read("exec"));
  if (!is_selinux) return {};
  labels->set_file_create(read("fscreate"));
  labels->set_key_create(read("keycreate"));
  labels->set_socket_create(read("sockcreate"));
  return {};
}

Result<> look(const Task& task, schema::Task* record) {
  LsmLabels labels;
  TRY(read_labels(task.proc, "attr", &labels));
  if (labels.module() != LsmLabels::NONE) *record->mutable_lsm() = std::move(labels);
  return {};
}

Result<> preflight(const Task& task, Blockers& blockers) {
  if (task.threads.size() < 2) return {};
  LsmLabels leader;
  TRY(read_labels(task.proc, "attr", &leader));
  for (const SeizedThread& thread : task.threads) {
    if (leader.module() == LsmLabels::NONE) break;
    LsmLabels labels;
    TRY(read_labels(task.proc, strf("task/%d/attr", thread.tid()), &labels));
    if (labels.current() == leader.current()) continue;
    blockers.add(task, strf("thread %d", thread.tid()),
                 strf("has the security label %s, its process has %s", labels.current().c_str(),
                      leader.current().c_str()));
  }
  return {};
}

Result<> write_attribute(const char* file, const std::string& text) {
  if (text.empty()) return {};
  Fd fd = TRY(procfs::open(strf("thread-self/attr/%s", file), O_WRONLY));
  return sys::write_all(fd, text.data(), text.size());
}

Result<> set_apparmor(const LsmLabels& labels) {
  const bool own_folder = procfs::open("thread-self/attr/apparmor", O_PATH).ok();
  const std::string folder = own_folder ? "apparmor/" : "";
  if (!labels.exec().empty())
    TRY_WHILE(write_attribute((folder + "exec").c_str(), "exec " + labels.exec()),
              "AppArmor profile \"%s\" for the next program", labels.exec().c_str());
  TRY_WHILE(write_attribute((folder + "current").c_str(), "changeprofile " + labels.current()),
            "AppArmor profile \"%s\" (is it loaded?)", labels.current().c_str());
  return {};
}

Result<> set_selinux(const LsmLabels& labels) {
  TRY_WHILE(write_attribute("current", labels.current()), "SELinux context \"%s\"",
            labels.current().c_str());
  TRY(write_attribute("exec", labels.exec()));
  TRY(write_attribute("fscreate", labels.file_create()));
  TRY(write_attribute("keycreate", labels.key_create()));
  return write_attribute("sockcreate", labels.socket_create());
}

Result<> restore(const ChildTask& child) {
  LsmLabels labels = TRY(wanted(child.record, child.request));
  if (labels.module() == LsmLabels::NONE) return {};
  LsmLabels own;
  Fd self = TRY(procfs::open("thread-self", O_PATH | O_DIRECTORY));
  TRY(read_labels(self, "attr", &own));
  if (own.SerializeAsString() == labels.SerializeAsString()) return {};
  if (own.module() != labels.module()) return {};  // unconfined, see check_module()
  return labels.module() == LsmLabels::APPARMOR ? set_apparmor(labels) : set_selinux(labels);
}

const char* name_of(LsmLabels::Module module) {
  return module == LsmLabels::APPARMOR ? "AppArmor" : "SELinux";
}

bool is_label(std::string_view label) {
  return !label.empty() && label.size() <= kMostLabel &&
         std::all_of(label.begin(), label.end(),
                     [](unsigned char c) { return c >= ' ' && c != 0x7f; });
}

}  // namespace

std::string label_of(std::string_view text) {
  text = text.substr(0, text.find('\0'));
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  if (text.ends_with(')')) {
    const size_t mode = text.rfind(" (");
    if (mode != std::string_view::npos) text = text.substr(0, mode);
  }
  return std::string(text);
}

bool is_unconfined(const LsmLabels& labels) {
  if (labels.module() == LsmLabels::APPARMOR) return labels.current() == "unconfined";
  // The type is the third of user:role:type:level.
  const std::string& label = labels.current();
  const size_t role = label.find(':');
  const size_t type = role == std::string::npos ? role : label.find(':', role + 1);
  return type != std::string::npos && label.compare(type + 1, 12, "unconfined_t") == 0 &&
         (label.size() == type + 13 || label[type + 13] == ':');
}

Result<LsmLabels> parse_profile(const std::string& profile) {
  LsmLabels labels;
  if (profile.empty()) return labels;
  constexpr std::string_view kAppArmor = "apparmor:", kSelinux = "selinux:";
  std::string_view text = profile;
  if (text.starts_with(kAppArmor)) {
    labels.set_module(LsmLabels::APPARMOR);
    text.remove_prefix(kAppArmor.size());
  } else if (text.starts_with(kSelinux)) {
    labels.set_module(LsmLabels::SELINUX);
    text.remove_prefix(kSelinux.size());
  }
  if (labels.module() == LsmLabels::NONE || !is_label(text) ||
      (labels.module() == LsmLabels::SELINUX && !looks_like_selinux(text)))
    return Error::usage(strf("security profile \"%s\": neither apparmor:NAME nor selinux:CONTEXT",
                             profile.c_str()));
  labels.set_current(std::string(text));
  return labels;
}

Result<std::string> mount_option(const std::string& context) {
  if (context.empty()) return std::string();
  if (!is_label(context) || !looks_like_selinux(context) || context.find('"') != std::string::npos)
    return Error::usage(strf("\"%s\" is no security context for mounts", context.c_str()));
  return strf("context=\"%s\"", context.c_str());
}

Result<LsmLabels> wanted(const schema::Task& task, const RestoreRequest& request) {
  LsmLabels given = TRY(parse_profile(request.lsm_profile));
  return given.module() != LsmLabels::NONE ? given : task.lsm();
}

Result<> check_module(const Image& image, const RestoreRequest& request) {
  TRY(parse_profile(request.lsm_profile));
  TRY(mount_option(request.lsm_mount_context));
  if (!request.lsm_mount_context.empty())
    return Error::unsupported("mounts cannot be given a security context by this version");
  LsmLabels own;
  bool known = false;
  for (const schema::Task& task : image.tasks) {
    LsmLabels labels = TRY(wanted(task, request));
    if (labels.module() == LsmLabels::NONE || is_unconfined(labels)) continue;
    if (!is_label(labels.current()))
      return Error::malformed(strf("task %d: its security label", task.pid()));
    if (!known) {
      Fd self = TRY(sys::open("/proc/self", O_PATH | O_DIRECTORY));
      TRY(read_labels(self, "attr", &own));
      known = true;
    }
    if (own.module() == labels.module()) continue;
    return Error::unsupported(
        strf("task %d (%s) was under %s (%s), which this machine does not run; restore it where it "
             "does, or dump it without that confinement",
             task.pid(), task.comm().c_str(), name_of(labels.module()), labels.current().c_str()));
  }
  return {};
}

extern const TaskRoom kRoom = {
    .name = "lsm", .preflight = preflight, .look = look, .restore = restore};

}  // namespace ncr::lsm
