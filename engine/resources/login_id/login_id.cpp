// Who logged in for the audit trail (task_struct.loginuid): a number that login programs set once
// and everything below them inherits, in /proc/PID/loginuid where the kernel has CONFIG_AUDIT. The
// kernel counts a session (sessionid) at each change, and nobody chooses its number.
//
// One that is not set is left to whoever restores, and so is one of somebody outside the tree's
// user namespace. A process may set its own once; after that it takes CAP_AUDIT_CONTROL outside of
// any user namespace, and only if the audit rules allow it, so failing that is a warning. Threads
// have one each, but only in their own hands: all get that of the first one.
#include <fcntl.h>

#include <charconv>

#include "engine/base/procfs.h"
#include "engine/resources/room.h"

namespace ncr::login_id {
namespace {

constexpr char kFile[] = "loginuid";
constexpr uint32_t kUnset = ~0u;

Result<uint32_t> parse(std::string_view text) {
  uint32_t id = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc()) return Error::malformed("/proc/PID/loginuid holds no number");
  return id;
}

void read_ahead(const Task& task) { (void)task.proc_text(kFile); }

// There is no such file where the kernel knows of no login ids.
Result<> look(const Task& task, schema::Task* record) {
  Result<const std::string*> text = task.proc_text(kFile);
  if (!text.ok()) return {};
  const uint32_t id = TRY(parse(*text.value()));
  if (id != kUnset) record->set_login_id(id);
  return {};
}

Result<> change_to(uint32_t id) {
  Fd file = TRY(procfs::open("self/loginuid", O_WRONLY));
  const std::string text = std::to_string(id);
  return sys::write_all(file, text.data(), text.size());
}

Result<> restore(const ChildTask& child) {
  if (!child.record.has_login_id()) return {};
  Result<std::string> own = procfs::read_file("self/loginuid");
  if (own.ok()) {
    const uint32_t current = TRY(parse(own.value()));
    if (current == child.record.login_id()) return {};
  }
  Result<> changed = change_to(child.record.login_id());
  if (!changed.ok())
    child.request.callbacks.log.warning("task %d: its login id (%u) is not restored: %s",
                                        child.record.pid(), child.record.login_id(),
                                        changed.error().text().c_str());
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {
    .name = "login_id", .read_ahead = read_ahead, .look = look, .restore = restore};

}  // namespace ncr::login_id
